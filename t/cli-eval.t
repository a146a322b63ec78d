#!/usr/bin/perl
# cli-eval.t - `vishwamai eval`: choices by likelihood, answers by match, and their intervals.
use strict;
use warnings;
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use Test::More;

needs('tokenizer/sentencepiece');

# Likelihoods, from `logits`.
my $context = 'To be, or not to be,';
my @choices = ('that is the question', 'sky');
my $file = write_file('choice.jsonl',
    qq({"context": "$context", "choices": ["$choices[0]", "$choices[1]"], "answer": "A"}\n));
my $got = json_of('eval', $file, '--details')->{tasks}[0];
my $item = $got->{items}[0];
for my $i (0, 1) {
    my @before = @{ json_of('tokenize', '--bos', '-p', $context)->{tokens} };
    my @ids = @{ json_of('tokenize', '--bos', '-p', "$context $choices[$i]")->{tokens} };
    my $rows = json_of('logits', '--tokens', "@ids")->{logits};
    my $first = 0;
    $first++ while $first < @before && $ids[$first] == $before[$first];
    my $logprob = 0;
    for my $k ($first .. $#ids) {
        my ($sum, $row) = (0, $rows->[$k - 1]);
        $sum += exp($_) for @$row;
        $logprob += $row->[$ids[$k]] - log($sum);
    }
    is_near($item->{logprobs}[$i], $logprob, 1e-5, "log-probability of choice $i");
}
my ($sum0, $sum1) = @{ $item->{logprobs} };
is($item->{chosen}, $sum0 > $sum1 ? 0 : 1, 'the likelier one is chosen');
is($item->{chosen_per_byte}, $sum0 / length $choices[0] > $sum1 / length $choices[1] ? 0 : 1,
   'per byte as well');
is($item->{right}, 0, 'the letter A is index 0');

# Answers: what greedy generation writes is known.
my $text = reference()->{greedy}[0]{text};
my ($line) = split /\n/, $text;
my @answers = ([$line, 1], ["  \U$line ", 1], ['something else', 0], [7, 0]);
$file = write_file('match.jsonl', join '', map {
    JSON::PP->new->canonical->encode({ prompt => "ROMEO:\n", answer => $_->[0] }) . "\n\n"
} @answers);
$got = json_of('eval', $file, '--details')->{tasks}[0];
is_deeply([map { $_->{is_right} ? 1 : 0 } @{ $got->{items} }], [map { $_->[1] } @answers],
          'answers are compared by their first line, without blanks and case');
is_deeply([map { $_->{line} } @{ $got->{items} }], [1, 3, 5, 7], 'line numbers');

my $numbers = write_file('numbers.jsonl', qq({"prompt": "ROMEO:\\n", "answer": -42}\n)
    . qq({"prompt": "ROMEO:\\n", "answer": 0.1}\n{"prompt": "ROMEO:\\n", "answer": 5e2}\n));
is_deeply([map { $_->{answer} } @{ json_of('eval', $numbers, '--details')->{tasks}[0]{items} }],
          ['-42', '0.1', '500'], 'an answer that is a number is its text');

# Wilson's interval for 2 of 4, by its formula.
my ($z, $p, $n) = (1.959963984540054, 0.5, 4);
my $half = $z * sqrt($p * (1 - $p) / $n + $z**2 / (4 * $n**2)) / (1 + $z**2 / $n);
my $middle = ($p + $z**2 / (2 * $n)) / (1 + $z**2 / $n);
is($got->{match}{n}, 4, 'n');
is($got->{match}{right}, 2, 'right');
is_near($got->{match}{accuracy}, 0.5, 1e-12, 'accuracy');
is_near($got->{match}{low}, $middle - $half, 1e-9, 'lower end');
is_near($got->{match}{high}, $middle + $half, 1e-9, 'upper end');
ok(!exists $got->{choice}, 'no figure for what was not asked');

# The installed sample, by both ways, and several files.
my $sample = "$top/etc/tasks/sample.jsonl";
my $tasks = json_of('eval', $sample, $file, '--limit', 3)->{tasks};
is(scalar @$tasks, 2, 'two files');
is($tasks->[0]{choice}{n}, 3, '--limit');
like((run('eval', $sample))[1],
     qr/choice by likelihood: \d of 6 right, .*per byte: .*answer match: \d of 2 right/s, 'for people');

# Bad files: all are read before the first question.
my %bad = (
    'not JSON' => ['{', qr/bad.jsonl:1.*/],
    'no object' => ['[1]', qr/bad\.jsonl:1: an object is expected/],
    'no question' => ['{"answer": "x"}', qr/bad\.jsonl:1: "choices" with "question" or "context", or "prompt" is expected/],
    'no context' => ['{"choices": ["a", "b"], "answer": 0}', qr/bad\.jsonl:1: "question" or "context" is missing/],
    'one choice' => ['{"context": "x", "choices": ["a"], "answer": 0}', qr/bad\.jsonl:1: "choices": a list of 2 to 26/],
    'a choice that is no text' => ['{"context": "x", "choices": ["a", 1], "answer": 0}', qr/choice 1 is no text/],
    'an empty choice' => ['{"context": "x", "choices": ["a", ""], "answer": 0}',
                          qr/bad\.jsonl:1: choice 1 is empty; nothing of it has a likelihood/],
    'a number that cannot be kept' =>
        ['{"prompt": "x", "answer": 123456789012345678901}',
         qr/bad\.jsonl:1: "answer": the number is too wide .*give it as a text, in quotes/],
    'an answer outside' => ['{"context": "x", "choices": ["a", "b"], "answer": 2}',
                            qr/an index from 0 to 1 or a letter from A to B is expected/],
    'an answer that only begins with a number' =>
        ['{"context": "x", "choices": ["a", "b"], "answer": "1 or 0"}',
         qr/an index from 0 to 1 or a letter from A to B is expected/],
    'no answer' => ['{"prompt": "x"}', qr/bad\.jsonl:1: "answer": a text or a number is expected/],
    'nothing' => ["\n \n", qr/bad\.jsonl: no question in it/],
);
for my $name (sort keys %bad) {
    fails(1, qr/^vishwamai: .*$bad{$name}[1]/, 'eval', $sample, write_file('bad.jsonl', $bad{$name}[0]));
}
done_testing;
