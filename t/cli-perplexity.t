#!/usr/bin/perl
# cli-perplexity.t - `vishwamai perplexity`: the figures of another implementation, in float64.
use strict;
use warnings;
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use Test::More;

needs('tokenizer/sentencepiece');

my @cases = @{ reference()->{perplexity} };
@cases = (sort { $a->{tokens} <=> $b->{tokens} } @cases)[0] if $ENV{VW_SHORT_TEXTS};
for my $case (@cases) {
    (my $name = $case->{file}) =~ s{.*/}{};
    my $got = json_of('perplexity', '-m', $model, '-f', "$top/t/data/$name", '--ctx', $case->{ctx})
        or next;
    is_deeply([sort keys %$got], [qw(nll perplexity tokens)], "$name, $case->{ctx}: members");
    is($got->{tokens}, $case->{tokens}, "$name, $case->{ctx}: tokens");
    is_near($got->{nll}, $case->{nll}, 1e-4, "$name, $case->{ctx}: mean loss");
    is_near($got->{perplexity}, $case->{perplexity}, 4e-4, "$name, $case->{ctx}: perplexity");
}

my $novel = "$top/t/data/frankenstein.val.txt";
my @few = ('perplexity', '-f', $novel, '--ctx', 32, '--chunks', 4);
my $few = json_of(@few);
is($few->{tokens}, 4 * 31, '--chunks: four windows of a BOS and 31 tokens');
is_near(json_of(@few, '--decode')->{nll}, $few->{nll}, 1e-5, '--decode gives the same');
for my $n (1, 7) {
    is_near(json_of(@few, '--set', "engine.batch_tokens=$n")->{nll}, $few->{nll}, 1e-5,
            "prefill in chunks of $n gives the same");
}

# From logits, by the definition: BOS is the first position and is not scored.
my $file = write_file('words', 'Hello, world');
my @ids = (2, @{ json_of('tokenize', '-f', $file)->{tokens} });
my $rows = json_of('logits', '--tokens', "@ids")->{logits};
my $loss = 0;
for my $i (1 .. $#ids) {
    my ($sum, $row) = (0, $rows->[$i - 1]);
    $sum += exp($_) for @$row;
    $loss += log($sum) - $row->[$ids[$i]];
}
is_near(json_of('perplexity', '-f', $file)->{nll}, $loss / $#ids, 1e-6, 'the mean of -log p');

my $id_file = write_file('ids', join "\n", @ids[1 .. $#ids]);
is_near(json_of('perplexity', '-f', $id_file, '--ids')->{nll}, $loss / $#ids, 1e-6,
        'the same from ids');
{
    my $built = $ENV{top_builddir} // '.';
    mkdir "$scratch/bare";
    symlink $_, "$scratch/bare/" . s{.*/}{}r for grep { !m{/tokenizer_} } glob "$built/.libs/*_*.so";
    local $ENV{VW_PLUGIN_PATH} = "$scratch/bare";
    is_near(json_of('perplexity', '-f', $id_file, '--ids')->{nll}, $loss / $#ids, 1e-6,
            'and without a tokenizer');
}
fails(2, qr/^vishwamai: .*words: 'Hello' is not a token id/, 'perplexity', '-f', $file, '--ids');

like((run('perplexity', '-f', $file))[1],
     qr/^perplexity \d+\.\d+; mean loss \d+\.\d+ nats over $#ids tokens, windows of 256\n\z/, 'for people');
fails(1, qr/^vishwamai: .*too short/, 'perplexity', '-f', write_file('empty', ''));
fails(2, qr/^vishwamai: --ctx 1000: the context is 256 tokens/, 'perplexity', '-f', $file,
      '--ctx', 1000);
fails(2, qr/^vishwamai: --ctx 1: a whole number of at least 2/, 'perplexity', '-f', $file, '--ctx', 1);
done_testing;
