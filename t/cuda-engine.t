#!/usr/bin/perl
# cuda-engine.t - a whole model on the second device, under the simulated driver: the same tokens,
# and the same logits but for rounding, as the processor gives; no model and no line of the engine
# knows which of the two it runs on.
use strict;
use warnings;
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use Test::More;

my $built = $ENV{top_builddir} // '.';
my $driver = "$built/t/cuda-sim/.libs/libcuda.so";
my @plugins = map { "$built/.libs/$_.so" } qw(device_cuda gemm_cuda_ref attention_cuda_ref);
for my $file (@plugins, $driver) {
    plan skip_all => "built without CUDA: no $file" unless -e $file;
}
$ENV{VW_CUDA_DRIVER} = $driver;
$ENV{VW_CUDA_SIM_STRICT} = 1;

my @cuda = ('--set', 'device.plugin=cuda', '-m', $model);
my @cpu = ('--set', 'device.plugin=cpu', '-m', $model);
my @prompts = @{ reference()->{greedy} };
ok(@prompts > 2, 'there are reference texts');

sub tokens_of {
    my ($on, @words) = @_;
    my $answer = json_of('run', @$on, @words);
    return "@{ $answer->{tokens} // [] }";
}

sub asked {
    my ($prompt) = @_;
    return ('--tokens', "@{ $prompt->{prompt_tokens} }", '--temp', '0');
}

# One text in full, of the others the beginning: a token costs the simulation a tenth of a second.
for my $i (0 .. $#prompts) {
    my $n = $i ? 8 : scalar @{ $prompts[$i]{new} };
    my @want = @{ $prompts[$i]{new} }[0 .. $n - 1];
    is(tokens_of(\@cuda, asked($prompts[$i]), '-n', $n), "@want", "greedy text $i, $n tokens");
}

my @first = (asked($prompts[0]), '-n', 8);
my @want = @{ $prompts[0]{new} }[0 .. 7];
{
    local $ENV{VW_CUDA_SIM_ORDER} = 'backwards';
    is(tokens_of(\@cuda, @first), "@want", 'whatever the order of threads and blocks');
}
my @small = ('--set', 'engine.batch_tokens=3', '--set', 'kv.page_tokens=4');
is(tokens_of(\@cuda, @first, @small), "@want", 'fed three at a time, in small pages');
my @drawn = (asked($prompts[1]), '-n', 12, '--temp', '0.9', '--top-k', '40', '--top-p', '0.9',
             '--min-p', '0.02', '--seed', '7');
is(tokens_of(\@cuda, @drawn), tokens_of(\@cpu, @drawn), 'a seed draws the same tokens');
my @penalised = (@drawn, '--repeat-penalty', '1.3');
is(tokens_of(\@cuda, @penalised), tokens_of(\@cpu, @penalised),
   'penalties visit the row and return');

# Logits: rounding, no more.
my @ids = @{ $prompts[2]{prompt_tokens} };
for my $how ([], ['--decode']) {
    my ($got, $expected) = map { json_of('logits', @$_, '--tokens', "@ids", @$how)->{logits} }
        \@cuda, \@cpu;
    my ($worst, $largest) = (0, 0);
    for my $row (0 .. $#$expected) {
        for my $i (0 .. $#{ $expected->[$row] }) {
            my ($g, $e) = ($got->[$row][$i] // 'nan', $expected->[$row][$i]);
            my $far = abs($g - $e);
            $worst = $far if !($far <= $worst);
            $largest = abs $e if abs $e > $largest;
        }
    }
    ok($worst <= 2e-5 * $largest, "logits @$how within $worst of values up to $largest");
}

# With cublasLt, simulated in the same file, the same tokens: its f32 activations are exact.
SKIP: {
    skip 'no gemm/cublaslt', 1 unless -e "$built/.libs/gemm_cublaslt.so";
    local $ENV{VW_CUBLASLT} = $driver;
    is(tokens_of(\@cuda, @first, '--set', 'gemm.plugin=cublaslt'), "@want", 'through cublasLt');
}

# Races on the device are among those that run there, and held to its own memory.
fails(1, qr/^vishwamai: gemm\/cpu does not run on the device cuda/, 'bench', 'gemm/cpu', '--set',
      'device.plugin=cuda');
my $bench = json_of('bench', 'attention', '--set', 'device.plugin=cuda', '--shape', '1,64',
                    '--repeats', 1);
is($bench->{ceilings}{device}, 'cuda', 'bench: the ceiling is the device\'s');
cmp_ok($bench->{ceilings}{read_gb_s}, '>', 0, 'measured');
my %racing = map { $_->{plugin} => 1 } @{ $bench->{races} };
is(join(' ', sort keys %racing), 'cuda_ref', 'and who runs there races');

# Nothing trains there yet, and that is said before a model is read.
fails(1, qr/^vishwamai: \[optimizer\] plugin = adamw: optimizer\/adamw does not run on the device cuda$/,
      'train', '-c', "$top/etc/presets/nanogpt-shakespeare.ini", '-f', "$top/README.md", '-o',
      "$scratch/trained", @cuda[0, 1]);

$ENV{VW_CUDA_SIM_MEMORY} = 1;
my $sentence = 'no memory for \d+ MiB \(\d+ bytes\) on CUDA device 0; \d+ of its 1 MiB are free';
fails(1, qr/^vishwamai: .*$sentence$/, 'run', @cuda, @first);
done_testing;
