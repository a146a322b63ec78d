#!/usr/bin/perl
# cli-matrix.t - every combination of components, paths, threads and instruction sets says the same.
#
# What they must say is another implementation's, in float64: the greedy texts, token for token, and
# the mean loss of the shorter of its two texts in windows of 64 and of 256, within 1e-4.
#
#     greedy texts              every combination, with the cache and without
#     loss, windows of 64       every combination with 2 threads
#     loss, windows of 256      every pair but those of gemm/ref
#     loss, three windows       every combination with 1 thread, and token by token
#
# Left out is what takes minutes.  The longer text is read by the default pair alone, in
# cli-perplexity.t.  gemm/ref needs 20 seconds of a processor even for the shorter one: it reads it
# once with each attention, in windows of 64, and for the rest three windows, none of them token by
# token, as its greedy texts are; without the cache it continues one prompt by 16 tokens, not five
# by 64.  The three windows are held to what plain C says of them, since no other figure is of so
# few.  A part that is not installed, or that this processor lacks, is skipped with its reason.
use strict;
use warnings;
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use Test::More;

needs('tokenizer/sentencepiece');

my @greedy = @{ reference()->{greedy} };
my ($short, $short_256) =
    sort { $a->{tokens} <=> $b->{tokens} || $a->{ctx} <=> $b->{ctx} }
    @{ reference()->{perplexity} };

my @isas = ('baseline');
my $flags = -r '/proc/cpuinfo' ? read_file('/proc/cpuinfo') : '';
push @isas, 'avx2' if $flags =~ /\bavx2\b/ && $flags =~ /\bfma\b/;
push @isas, 'avx512' if $flags =~ /\bavx512bw\b/;

my @gemms = grep { is_there("gemm/$_") } qw(ref cpu blas);
my @attentions = grep { is_there("attention/$_") } qw(ref flash);

# Which instruction sets matter to a pair: the plain C ones have none.
sub sets_of {
    my ($gemm, $attention) = @_;
    return $gemm eq 'cpu' || $attention eq 'flash' ? @isas : ('baseline');
}

sub loss_of {
    my ($case, @words) = @_;
    (my $name = $case->{file}) =~ s{.*/}{};
    return json_of('perplexity', '-f', "$top/t/data/$name", '--ctx', $case->{ctx}, @words);
}

# The loss of a whole text is the published one.
sub is_whole_loss {
    my ($case, $name, @words) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $got = loss_of($case, @words);
    $name .= ": loss of $case->{file}, windows of $case->{ctx}";
    is($got->{tokens}, $case->{tokens}, "$name: tokens");
    is_near($got->{nll}, $case->{nll}, 1e-4, $name);
}

my @few = ('--chunks', 3);
my $truth = loss_of($short, @few, '-c', 'presets/reference.ini', '-t', 1);
is($truth->{tokens}, 3 * 63, 'plain C: a loss of each token of three windows but their first ones');

sub test_losses {
    my ($gemm, $threads, $name, @parts) = @_;
    if ($threads == 2 && $gemm ne 'ref' && !$ENV{VW_SHORT_TEXTS}) {
        is_whole_loss($short, $name, @parts);
    } else {
        is_near(loss_of($short, @few, @parts)->{nll}, $truth->{nll}, 1e-4, "$name: three windows");
    }
    is_near(loss_of($short, @few, @parts, '--decode')->{nll}, $truth->{nll}, 1e-4,
            "$name: three windows, token by token") if $gemm ne 'ref';
}

sub test_greedy {
    my ($gemm, $name, @parts) = @_;
    for my $path ([], ['--no-cache']) {
        my $is_slow = $ENV{VW_SHORT_TEXTS} || @$path && $gemm eq 'ref';
        my $n = $is_slow ? 16 : 64;
        my @wrong;
        for my $case ($is_slow ? $greedy[1] : @greedy) {
            my $answer = json_of('run', '-p', $case->{prompt}, '--temp', 0, '-n', $n,
                                 @parts, @$path);
            my @expected = @{ $case->{new} }[0 .. $n - 1];
            push @wrong, $case->{prompt} if "@{ $answer->{tokens} }" ne "@expected";
        }
        is("@wrong", '', "$name: greedy texts" . (@$path ? ', uncached' : ''));
    }
}

for my $gemm (@gemms) {
    for my $attention (@attentions) {
        my @pair = ('--set', "gemm.plugin=$gemm", '--set', "attention.plugin=$attention");
        for my $isa (sets_of($gemm, $attention)) {
            local $ENV{VW_CPU} = $isa;
            for my $threads (1, 2) {
                my $name = "gemm/$gemm attention/$attention $isa $threads threads";
                test_losses($gemm, $threads, $name, @pair, '-t', $threads);
                test_greedy($gemm, $name, @pair, '-t', $threads);
            }
        }
        is_whole_loss($gemm eq 'ref' ? $short : $short_256, "gemm/$gemm attention/$attention",
                      @pair, '-t', 2) if !$ENV{VW_SHORT_TEXTS};
    }
}

for my $part (qw(gemm/blas attention/flash)) {
    SKIP: {
        skip "$part is not installed", 1 if !is_there($part);
        pass("$part took part");
    }
}
SKIP: {
    skip 'this processor has no AVX-512', 1 if !grep { $_ eq 'avx512' } @isas;
    pass('AVX-512 took part');
}
done_testing;
