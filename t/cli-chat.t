#!/usr/bin/perl
# cli-chat.t - `vishwamai chat` over a pipe: turns, the cache between them, a full context.
use strict;
use warnings;
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use JSON::PP;
use Test::More;

needs('tokenizer/sentencepiece');

my @greedily = ('chat', '--temp', 0, '-n', 12);

sub turns {
    my ($input, @words) = @_;
    my ($status, $out, $err) = run_with($input, @greedily, '--json', @words);
    is($status, 0, 'status');
    return map { JSON::PP->new->utf8->decode($_) } split /\n/, $out;
}

# What the plain transcript must be answered with: the same by `run`.
sub continued {
    my ($transcript) = @_;
    return json_of('run', '-p', $transcript, '--temp', 0, '-n', 12, '-r', "\nUser:");
}

my ($first, $second) = turns("Who are you?\nAnd he?\n");
my $alone = continued("User: Who are you?\nAssistant:");
is_deeply($first->{tokens}, $alone->{tokens}, 'the first answer continues the transcript');
is($first->{text}, $alone->{text}, 'its text');
is($first->{role}, 'assistant', 'its role');
is($first->{cached_tokens}, 0, 'nothing was cached');
(my $said = $alone->{text}) =~ s/^ //;
my $both = continued("User: Who are you?\nAssistant: $said\nUser: And he?\nAssistant:");
is_deeply($second->{tokens}, $both->{tokens}, 'the second answer sees the first');
is($second->{prompt_tokens}, scalar @{ $both->{prompt_tokens} }, 'with the whole conversation');
cmp_ok($second->{cached_tokens}, '>=', $first->{prompt_tokens}, 'and what was computed is kept');

my ($long) = turns("Who are \\\nyou?\n");
is_deeply($long->{tokens}, continued("User: Who are \nyou?\nAssistant:")->{tokens},
          'a backslash continues a line');
my @cleared = turns("Who are you?\n/clear\nWho are you?\n/exit\nignored\n");
is(scalar @cleared, 2, '/exit ends');
is_deeply($cleared[1]{tokens}, $first->{tokens}, '/clear forgets');
my ($told) = turns("Who are you?\n", '--system', 'Be brief.');
is_deeply($told->{tokens}, continued("Be brief.\n\nUser: Who are you?\nAssistant:")->{tokens},
          '--system comes first');
my ($last) = turns('Who are you?');
is_deeply($last->{tokens}, $first->{tokens}, 'a last line without a newline counts');
is(scalar(turns("\n\n")), 0, 'empty lines ask nothing');

# Two models in one conversation: each answers as if it had been alone with what was said.
{
    my @two = map { ('--set', $_) } "model:mini.path=$ENV{VW_MODEL}",
        "model:other.path=$ENV{VW_MODEL}", 'model:other.weights=int8';
    my ($status, $out, $err) = run_with(
        "Who are you?\n/model other\nAnd he?\n/model mini\nAnd she?\n/model nobody\n/model\nEnd?\n",
        @greedily, '--json', '-M', 'mini', @two);
    is($status, 0, 'a conversation with two models');
    my @turn = map { JSON::PP->new->utf8->decode($_) } split /\n/, $out;
    is(scalar @turn, 4, 'answers every question');
    is_deeply($turn[0]{tokens}, $first->{tokens}, 'the first is who it was');
    like($err, qr/\(.*; models: mini, \(other\)\)/, '/model says who goes on');
    like($err, qr/there is no \[model:nobody\]; the labels of this kind are: mini, other/,
         'a model that nobody named');
    (my $a = $turn[0]{text}) =~ s/^ //;
    (my $b = $turn[1]{text}) =~ s/^ //;
    my $transcript = "User: Who are you?\nAssistant: $a\nUser: And he?\nAssistant:";
    my $alone = json_of('run', '-p', $transcript, '--temp', 0, '-n', 12, '-r', "\nUser:", '-M',
                        'other', @two);
    is_deeply($turn[1]{tokens}, $alone->{tokens}, 'the second answers as alone');
    is_deeply($turn[2]{tokens}, continued("$transcript $b\nUser: And she?\nAssistant:")->{tokens},
              'the first goes on with what the second said');
    cmp_ok($turn[2]{cached_tokens}, '>', $turn[0]{prompt_tokens}, 'from what it had computed');
}

# Without --json: the answers, a line end after each, no prompt sign.
my ($status, $out, $err) = run_with("Who are you?\n", @greedily);
is("$status$out$err", "0$first->{text}\n", 'the answer alone');
like((run_with("/help\n", @greedily))[2], qr/\/clear forgets/, 'an unknown command is explained');

# A conversation longer than the context of 256 forgets its beginning and goes on.
my $many = "The king, the queen, the crown and the night are here.\n" x 12;
($status, $out, $err) = run_with($many, @greedily, '--json');
is($status, 0, 'a long conversation');
is(scalar(split /\n/, $out), 12, 'all questions are answered');
like($err, qr/\(the context of 256 tokens is full: forgot the \d+ oldest messages\)/, 'it says so');

# One question that is too long is an error; the conversation goes on.
($status, $out, $err) = run_with(('word ' x 400) . "\nWho are you?\n", @greedily, '--json');
is($status, 0, 'a question that is too long');
like($err, qr/^vishwamai: .*context.*\n\z/, 'is an error');
is_deeply(JSON::PP->new->utf8->decode($out)->{tokens}, $first->{tokens},
          'and the next one is answered');
done_testing;
