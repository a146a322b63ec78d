#!/usr/bin/perl
# cli-interrupt.t - Ctrl-C: it ends a generation with what came, and in chat only the answer.
use strict;
use warnings;
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use IPC::Open3;
use JSON::PP;
use Symbol 'gensym';
use Test::More;

needs('tokenizer/sentencepiece');

# A generation without an end: whatever the model says, it goes on.  The uncached path recomputes
# everything for each token, so that there is time to interrupt it.
my @endless = ('--temp', 1, '--ignore-eos', '-n', -1, '--no-cache', '--set', 'gemm.plugin=ref');

# Start, wait for the first bytes of standard output, interrupt, and return what came.
sub interrupted {
    my (@words) = @_;
    my $pid = open3(my $in, my $out, my $err = gensym, 'vishwamai', @words);
    sysread $out, my $first, 1;
    kill 'INT', $pid;
    my $rest = do { local $/; <$out> };
    my $said = do { local $/; <$err> };
    waitpid $pid, 0;
    my $status = $? & 127 ? 128 + ($? & 127) : $? >> 8;
    return ($status, $first . ($rest // ''), $said // '');
}

my ($status, $text, $said) = interrupted('run', '-p', 'ROMEO:', @endless);
is($status, 130, 'run: status 130');
ok(length $text, 'run: what came was printed');
is($said, '', 'run: and no error');

# With --json nothing is printed before the end, so the signal comes after a while; the document is
# whole.  Should the machine have been faster than that, the context ended the generation; was it still
# loading, there is no document, and the next try waits longer.
my ($pid, $in, $out, $err, $json);
for (my $wait = 1; $wait < 100 && !length($json // ''); $wait *= 2) {
    is($?, 130 << 8, 'run --json: interrupted while it loads') if defined $json;
    $pid = open3($in, $out, $err = gensym, 'vishwamai', 'run', '-p', 'ROMEO:', @endless, '--json');
    select undef, undef, undef, $wait;
    kill 'INT', $pid;
    $json = do { local $/; <$out> } // '';
    waitpid $pid, 0;
}
my $answer = eval { JSON::PP->new->utf8->decode($json) };
ok($answer, 'run --json: a whole document');
like($answer->{finish}, qr/^(?:interrupted|context)$/, 'run --json: ended by ' . $answer->{finish});
is($? >> 8, $answer->{finish} eq 'interrupted' ? 130 : 0, 'run --json: status');

# Chat: the first answer is interrupted, the next question is answered.
$pid = open3($in, $out, $err = gensym, 'vishwamai', 'chat', @endless);
print $in "Who are you?\n";
$in->flush;
sysread $out, my $first, 1;
kill 'INT', $pid;
my $line = <$out>;
ok(defined $line, 'chat: the answer ends');
print $in "And he?\n/exit\n";
close $in;
sysread $out, my $second, 1;
kill 'INT', $pid;
ok(length $second, 'chat: the next question is answered');
my $rest = do { local $/; <$out> };
waitpid $pid, 0;
is($?, 0, 'chat: the program goes on until /exit, with status 0');

# Chat: at the prompt it only says how to leave.
$pid = open3($in, $out, $err = gensym, 'vishwamai', 'chat', '--temp', 0, '-n', 4, '--json');
print $in "Who are you?\n";
$in->flush;
$line = <$out>;
ok(JSON::PP->new->utf8->decode($line), 'chat: an answer');
select undef, undef, undef, 0.3;
kill 'INT', $pid;
is(scalar(<$err>), "\n", 'chat: an empty line');
is(scalar(<$err>), "(/exit or Ctrl-D ends the conversation)\n", 'chat: and how to leave');
print $in "And he?\n";
close $in;
ok(JSON::PP->new->utf8->decode(scalar <$out>), 'chat: the next answer');
waitpid $pid, 0;
is($?, 0, 'chat: status 0');

done_testing;
