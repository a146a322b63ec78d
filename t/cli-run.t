#!/usr/bin/perl
# cli-run.t - `vishwamai run`: greedy texts against another implementation, and every way of asking.
use strict;
use warnings;
use utf8;
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use Test::More;
use File::Copy;

needs('tokenizer/sentencepiece');

binmode Test::More->builder->$_, ':utf8' for qw(output failure_output);
my @greedy = @{ reference()->{greedy} };

for my $case (@greedy) {
    (my $name = $case->{prompt}) =~ s/\n/ /g;
    my @words = ('run', '-m', $model, '-p', $case->{prompt}, '-n', scalar @{ $case->{new} },
                 '--temp', 0);
    my $answer = json_of(@words) or next;
    is_deeply($answer->{prompt_tokens}, $case->{prompt_tokens}, "$name: prompt");
    is_deeply($answer->{tokens}, $case->{new}, "$name: new tokens");
    is($answer->{text}, $case->{text}, "$name: text");
    my ($status, $out, $err) = run(@words);
    is($status, 0, "$name: status");
    is($out, $case->{text}, "$name: standard output holds the continuation alone");
    is($err, '', "$name: nothing on standard error");
}

my $case = $greedy[0];
my @greedily = ('--temp', 0, '-n', 16);
my @first = @{ $case->{new} }[0 .. 15];
my $tokens = join ' ', @{ $case->{prompt_tokens} };

# The shape of the answer.
my $answer = json_of('run', '-p', $case->{prompt}, @greedily);
is_deeply([sort keys %$answer], [qw(finish prompt_tokens seconds text tokens)], 'members');
is_deeply([sort keys %{ $answer->{seconds} }], [qw(decode load prompt)], 'members of seconds');
is($answer->{finish}, 'length', 'ended by length');
is_deeply($answer->{tokens}, \@first, 'without -m: the model that VW_MODEL names');
{
    local $ENV{VW_MODEL};
    my @bundled = ('run', '-p', $case->{prompt}, @greedily);
    is_deeply(json_of(@bundled)->{tokens},
              json_of(@bundled, '-m', "$top/etc/models/tiny-vishwamai")->{tokens}, 'or the bundled one');
}

# Other ways to give the prompt.
is_deeply(json_of('run', '--tokens', $tokens, @greedily)->{tokens}, \@first, '--tokens');
is_deeply(json_of('run', '--tokens', join(',', @{ $case->{prompt_tokens} }), @greedily)->{tokens},
          \@first, '--tokens with commas');
is_deeply(json_of('run', '--tokens', '2', @greedily)->{prompt_tokens}, [2], '--tokens adds no BOS');
my $file = write_file('prompt.txt', $case->{prompt});
is_deeply(json_of('run', '-f', $file, @greedily)->{tokens}, \@first, '-f');
my (undef, $out) = run_with($case->{prompt}, 'run', '-f', '-', @greedily, '--json');
like($out, qr/"tokens":\[$first[0],$first[1],/, '-f - is standard input');
is_deeply(json_of('run', '-p', $case->{prompt}, @greedily, '--no-cache')->{tokens}, \@first,
          '--no-cache');
is_deeply(json_of('run', '-p', $case->{prompt}, @greedily, '--set', 'kv.page_tokens=5')->{tokens},
          \@first, 'pages of 5 tokens');
is_deeply(json_of('run', '-c', 'presets/greedy.ini', '-p', $case->{prompt}, '-n', 16)->{tokens},
          \@first, 'a preset');
is_deeply(json_of('run', '-p', $case->{prompt}, '--temp=1', '--top-k', 1, '-n16')->{tokens}, \@first,
          'top-k 1 is greedy');

# Ends.
my $none = json_of('run', '-p', $case->{prompt}, '-n', 0);
is_deeply($none->{tokens}, [], '-n 0: nothing new');
my $stopped = json_of('run', '-p', $case->{prompt}, '--temp', 0, '-r', 'crown,', '-r', 'zzz');
is($stopped->{text}, "I'll not bear the ", '--stop: the text before it');
is($stopped->{finish}, 'stop', 'ended by a stop string');
my $all = json_of('run', '-p', $case->{prompt}, '--temp', 0, '-n', -1, '--ctx-size', 40);
is(@{ $all->{prompt_tokens} } + @{ $all->{tokens} }, 40 + 1,
   '-n -1 goes to the end of the context: 40 tokens, and the one after them');
is($all->{finish}, 'context', 'ended by the context');

# Draws.
my @warm = ('run', '-p', 'The monster', '-n', 24, '--temp', 1.5, '--top-k', 0, '--min-p', 0);
my $seven = json_of(@warm, '--seed', 7)->{tokens};
is_deeply(json_of(@warm, '--seed', 7)->{tokens}, $seven, 'the same seed draws the same');
is_deeply(json_of(@warm, '-s', 7, '-t', 1)->{tokens}, $seven, 'with one thread as well');
isnt("@{ json_of(@warm, '--seed', 8)->{tokens} }", "@$seven", 'another seed draws otherwise');
my @penalised = ('run', '-p', $case->{prompt}, '--temp', 0, '-n', 48);
isnt("@{ json_of(@penalised, '--repeat-penalty', 1.5)->{tokens} }",
     "@{ json_of(@penalised)->{tokens} }", '--repeat-penalty changes the text');
my $spread = json_of(@penalised, '--presence-penalty', 100, '--repeat-last-n', -1)->{tokens};
my %seen;
$seen{$_}++ for @$spread;
is(scalar(grep { $_ > 1 } values %seen), 0, 'a huge presence penalty repeats no token');

# Characters of several tokens come whole.
my (undef, $text) = run('run', '-p', 'café 你好 😀', '-n', 8, '--temp', 2, '--seed', 3, '--top-k', 0);
ok(utf8::decode($text), 'random text is UTF-8');

# A folder without a tokenizer.
my $bare = "$scratch/bare";
mkdir $bare or die $!;
copy("$model/$_", "$bare/$_") or die $! for qw(config.json model.safetensors);
my $ids = json_of('run', '-m', $bare, '--tokens', $tokens, @greedily);
is_deeply($ids->{tokens}, \@first, 'without a tokenizer: the same ids');
ok(!exists $ids->{text}, 'and no text');
is((run('run', '-m', $bare, '--tokens', $tokens, @greedily))[1], "@first\n", 'ids on standard output');
fails(1, qr/^vishwamai: .*tokenizer/, 'run', '-m', $bare, '-p', 'x');
fails(1, qr{^vishwamai: the model /nowhere cannot be opened: No such file or directory; a folder with a config\.json, or a \*\.gguf file, is expected\n\z},
      'run', '-m', '/nowhere', '-p', 'x');

# Errors.
fails(1, qr/^vishwamai: token 99999 is not in the vocabulary of 1024 tokens\n\z/,
      'run', '--tokens', '2 99999');
fails(2, qr/^vishwamai: --tokens: 'x7' is not a token id: whole numbers are expected\n\z/,
      'run', '--tokens', '2 x7');
fails(2, qr/^vishwamai: --tokens: '-7' is not a token id/, 'run', '--tokens', '2 -7');
fails(1, qr/^vishwamai: .*context is full: 0 tokens and 257 more exceed its 256/, 'run', '--tokens', '2 ' x 257);
fails(1, qr/^vishwamai: .*no tokens\n\z/, 'run', '--tokens', ' ');

like((run('run', '-p', 'x', '-n', 2, '-v'))[2], qr/using gemm\/\w+, attention\/\w+, .*ended by length/s,
     '--verbose says what is used');
for my $case (['model.weights=int8', qr/info: .*weights are re-quantised to int8 \(\[model\] weights\)/],
              ['kv.dtype=int8', qr/info: .*the cache of keys and values is int8 \(\[kv\] dtype\)/]) {
    my ($setting, $line) = @$case;
    like((run('run', '-p', 'x', '-n', 1, '-v', '--set', $setting))[2], $line, "$setting is told");
    unlike((run('run', '-p', 'x', '-n', 1, '-v'))[2], $line, "and without it nothing of it");
}

# One setting swaps one component and nothing else.
sub parts {
    my ($used) = (run('run', '-p', 'x', '-n', 1, '-v', @_))[2] =~ /^using (.*?);/m;
    return $used // '';
}
my $as_is = parts();
for my $name (qw(ref blas onednn)) {
    SKIP: {
        skip "gemm/$name is not installed", 1 if (run('inspect', '--exists', "gemm/$name"))[0] != 0;
        (my $expected = $as_is) =~ s{gemm/\w+}{gemm/$name};
        is(parts('--set', "gemm.plugin=$name"), $expected, "--set gemm.plugin=$name: $expected");
    }
}
# Experts from the file: the same tokens, and what was read.
{
    my @words = ('run', '-m', ($ENV{top_srcdir} // '.') . '/etc/models/tiny-vishwamai', '--tokens', '2 7 9',
                 '-n', 8, '--temp', 0);
    my $whole = json_of(@words);
    my $streamed = json_of(@words, '--set', 'model.expert_memory=400K');
    is_deeply($streamed->{tokens}, $whole->{tokens}, 'streamed experts: the same tokens');
    ok(!exists $whole->{experts}, 'nothing is said of experts that are in memory');
    my $e = $streamed->{experts};
    is($e->{count}, 40, 'their number');
    is($e->{in_memory}, 2, 'those that fit');
    cmp_ok($e->{evictions}, '>', 8, 'evictions');
    cmp_ok($e->{bytes_read}, '>=', $e->{misses} * 3 * 192 * 128 * 2, 'bytes');
    cmp_ok($e->{bytes_per_second}, '>', 0, 'and how fast');
    like((run(@words, '-v', '--set', 'model.expert_memory=400K'))[2],
         qr/experts: 2 of 40 fit in memory; \d+ hits, \d+ misses, \d+ evictions; [\d.]+ MiB read/,
         'the same for people');
}

done_testing;
