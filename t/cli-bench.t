#!/usr/bin/perl
# cli-bench.t - `vishwamai bench`: every race runs, its figures are there, its results are right.
use strict;
use warnings;
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use JSON::PP;
use Test::More;

my @quickly = ('--repeats', 1);

sub has_ceilings {
    my ($bench) = @_;
    cmp_ok($bench->{ceilings}{$_}, '>', 0, "ceiling $_") for qw(read_gb_s f32_gflop_s int8_gop_s);
}

my @dtypes = qw(f32 bf16 f16 int8 e4m3);
my $bench = json_of('bench', 'gemm/cpu', '--shape', '3,192,160', @quickly,
                    map { ('--dtype', $_) } @dtypes);
has_ceilings($bench);
my %race = map { ("$_->{plugin} $_->{dtype}" => $_) } @{ $bench->{races} };
for my $dtype (@dtypes) {
    for my $name (qw(cpu ref)) {
        my $race = $race{"$name $dtype"} // {};
        ok($race->{seconds}, "gemm/$name takes part with $dtype") or diag($race->{left_out} // '');
        cmp_ok($race->{error} // 1, '<', 1e-4, "gemm/$name with $dtype computes the right thing");
        cmp_ok($race->{percent_of_ceiling} // 0, '>', 0, 'a share of the ceiling');
        cmp_ok($race->{ratio_to_best_rival} // 0, '>', 0, 'a ratio to the best rival');
    }
}
# Block formats, whose rows are whole blocks.
my @blocks = qw(q8_0 q4_0 q4_k q6_k int4);
$bench = json_of('bench', 'gemm/cpu', '--shape', '3,40,256', @quickly, map { ('--dtype', $_) } @blocks);
%race = map { ("$_->{plugin} $_->{dtype}" => $_) } @{ $bench->{races} };
for my $name (qw(cpu ref)) {
    cmp_ok($race{"$name $_"}{error} // 1, '<', 1e-4, "gemm/$name with $_ computes the right thing") for @blocks;
}
fails(2, qr/^vishwamai: --dtype q4_k: K is 160, expected a multiple of 256 \(see/,
      'bench', 'gemm', '--dtype', 'q4_k', '--shape', '3,192,160');

# Experts: a grouped product of so many weights, by everybody who has one.
my $grouped = json_of('bench', 'gemm/cpu', '--experts', 5, '--shape', '3,96,160', @quickly);
my ($cpu) = grep { ($_->{experts} // 0) == 5 && defined $_->{error} } map { ref $_ eq 'ARRAY' ? @$_ : () }
    values %$grouped;
ok($cpu && $cpu->{error} < 1e-4, 'gemm --experts: a grouped product, and the right one');

my ($status, $out, $err) = run('bench', 'gemm', '--shape', '1,128,128', @quickly);
is($status, 0, 'gemm, for people');
like($out, qr/^f32 +1 x 128 x 128 .*GOP\/s .*^ceilings \(\d+ threads, \S+\): read /ms, 'a table and ceilings');

$bench = json_of('bench', 'attention', '--shape', '1,80', '--shape', '5,37', '--heads', '4,2,24',
                    @quickly);
is(scalar(grep { !$_->{seconds} || $_->{error} > 1e-4 } @{ $bench->{races} }), 0,
   'attention: everyone takes part and is right');
cmp_ok(scalar @{ $bench->{races} }, '>=', 2, 'two shapes');

$bench = json_of('bench', 'device', '--tokens', 2, '--width', 256, @quickly);
my %operation = map { ($_->{operation} => $_) } @{ $bench->{races} };
cmp_ok($operation{$_}{gb_s} // 0, '>', 0, "device: $_") for qw(copy rms_norm rope gate axpby softmax);

$bench = json_of('bench', 'model', '-m', $model, '-p', 16, '-n', 4, '-r', 1,
                 '--vs', 'gemm.plugin=ref', '--rival', 'echo hello; echo world');
has_ceilings($bench);
is(scalar @{ $bench->{configurations} }, 2, 'model: two configurations');
for my $one (@{ $bench->{configurations} }) {
    cmp_ok($one->{$_}, '>', 0, 'model: ' . ($one->{vs} // 'as given') . ": $_")
        for qw(prefill_tokens_s decode_tokens_s load_seconds first_token_seconds peak_bytes
               decode_percent_of_read
               prefill_percent_of_f32_peak prefill_percent_of_int8_peak token_bytes);
}
like($bench->{configurations}[1]{what}, qr/gemm\/ref/, 'model: --vs is in force');
is($bench->{rivals}[0]{output}, "hello\nworld\n", 'model: what a rival prints');

# What a token reads of a mixture, from its file: of E experts the K that it takes, one row of a table
# that is not the head too, vectors in f32.
sub token_bytes {
    my ($folder) = @_;
    my $file = read_file("$folder/model.safetensors");
    my $header = decode_json(substr $file, 8, unpack('Q<', $file));
    my $config = decode_json(read_file("$folder/config.json"));
    my ($taken, $experts) = ($config->{num_experts_per_tok}, $config->{num_experts} // $config->{n_routed_experts});
    my $sum = 0;
    delete $header->{__metadata__};
    for my $name (keys %$header) {
        my ($dtype, $shape) = @{ $header->{$name} }{qw(dtype shape)};
        my $bytes = ($dtype eq 'BF16' && @$shape > 1 ? 2 : 4) * $shape->[0] * ($shape->[1] // 1);
        $bytes *= $taken / $experts if $name =~ /\.experts\.\d/;
        $bytes /= $shape->[0] if $name =~ /embed_tokens/ && !$config->{tie_word_embeddings};
        $sum += $bytes;
    }
    return $sum;
}
for my $folder ("$top/etc/models/tiny-vishwamai", "$top/t/data/goldens/deepseek-f32") {
    my $one = json_of('bench', 'model', '-m', $folder, '-p', 4, '-n', 2, '-r', 1, '--set', 'engine.ctx_size=64')
        ->{configurations}[0];
    is($one->{token_bytes}, token_bytes($folder), "model: what a token reads of $folder");
}

fails(1, qr/^vishwamai: gemm\/nothing is not installed/, 'bench', 'gemm/nothing');
fails(1, qr/^vishwamai: 'exit 3' failed with status 3/, 'bench', 'model', '-p', 8, '-n', 1, '-r', 1,
      '--rival', 'exit 3');
fails(2, qr/do not fit the context of 256 tokens/, 'bench', 'model', '-p', 400);
done_testing;
