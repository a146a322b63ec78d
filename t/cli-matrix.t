#!/usr/bin/perl
# cli-matrix.t - every combination of components, paths, threads and instruction sets says the same.
#
# Greedy texts token for token, and the loss over a few windows within 1e-4 of plain C in double
# precision.  A part that is not installed, or that this processor lacks, is skipped with its reason.
use strict;
use warnings;
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use Test::More;

needs('tokenizer/sentencepiece');

my @greedy = @{ reference()->{greedy} };
my $novel = "$top/t/data/frankenstein.val.txt";
my @windows = ('perplexity', '-f', $novel, '--ctx', 64, '--chunks', 3);

my @isas = ('baseline');
my $flags = -r '/proc/cpuinfo' ? read_file('/proc/cpuinfo') : '';
push @isas, 'avx2' if $flags =~ /\bavx2\b/ && $flags =~ /\bfma\b/;
push @isas, 'avx512' if $flags =~ /\bavx512bw\b/;

my @gemms = grep { is_there("gemm/$_") } qw(ref cpu blas);
my @attentions = grep { is_there("attention/$_") } qw(ref flash);

my $truth = json_of(@windows, '-c', 'presets/reference.ini', '-t', 1);
is($truth->{tokens}, 3 * 63, 'plain C: a loss of each token of three windows but their first ones');
diag("plain C: $truth->{nll} nats");

# Which instruction sets matter to a pair: the plain C ones have none.
sub sets_of {
    my ($gemm, $attention) = @_;
    return $gemm eq 'cpu' || $attention eq 'flash' ? @isas : ('baseline');
}

for my $gemm (@gemms) {
    for my $attention (@attentions) {
        for my $isa (sets_of($gemm, $attention)) {
            local $ENV{VW_CPU} = $isa;
            for my $threads (1, 2) {
                my @parts = ('--set', "gemm.plugin=$gemm", '--set', "attention.plugin=$attention",
                             '-t', $threads);
                my $name = "gemm/$gemm attention/$attention $isa $threads threads";
                my $loss = json_of(@windows, @parts);
                is_near($loss->{nll}, $truth->{nll}, 1e-4, "$name: loss");
                for my $path ([], ['--no-cache']) {
                    # The uncached path of plain C is slow: a quarter of the tokens, one prompt.
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
        }
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
