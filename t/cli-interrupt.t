#!/usr/bin/perl
# cli-interrupt.t - Ctrl-C: it ends a generation with what came, and in chat only the answer.
use strict;
use warnings;
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use IPC::Open3;
use JSON::PP;
use POSIX ();
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

# ---- on a terminal -------------------------------------------------------------------------------

# A pseudo-terminal by the ioctls of Linux, TIOCSPTLCK and TIOCGPTN, and chat on its other end; or
# nothing where there is none.
sub chat_on_terminal {
    my (@words) = @_;
    sysopen my $terminal, '/dev/ptmx', POSIX::O_RDWR | POSIX::O_NOCTTY or return;
    my $number = pack 'i', 0;
    ioctl $terminal, 0x40045431, $number or return;
    ioctl $terminal, 0x80045430, $number or return;
    my $child = fork // die "fork: $!";
    if (!$child) {
        POSIX::setsid();
        open my $end, '+<', '/dev/pts/' . unpack 'i', $number or POSIX::_exit(126);
        POSIX::dup2(fileno $end, $_) for 0 .. 2;
        exec 'vishwamai', 'chat', @words or POSIX::_exit(127);
    }
    return ($terminal, $child);
}

# What it shows until that matches, within a minute; what stands behind the match is kept for later.
my $shown = '';

sub wait_for {
    my ($terminal, $pattern, $name) = @_;
    my $is_over = 0;
    while ($shown !~ $pattern && !$is_over) {
        vec(my $ready = '', fileno $terminal, 1) = 1;
        $is_over = select($ready, undef, undef, 60) <= 0 ||
            !sysread $terminal, $shown, 4096, length $shown;
    }
    my $is_found = $shown =~ $pattern;
    ok($is_found, $name) or diag("shown: '$shown'");
    $shown = substr $shown, $+[0] if $is_found;
}

SKIP: {
    my ($terminal, $child) = chat_on_terminal(@endless, '-n', 2000) or
        skip 'there is no pseudo-terminal to be had', 8;
    my $hint = qr{\(/exit or Ctrl-D ends the conversation};
    wait_for($terminal, qr/^> /m, 'on a terminal: the prompt');
    syswrite $terminal, "a\\\n";
    wait_for($terminal, qr/^\. /m, 'a line that goes on');
    syswrite $terminal, "\x03";
    wait_for($terminal, qr/\A[^\n]*\n$hint/, 'Ctrl-C drops it and says how to leave');
    wait_for($terminal, qr/^> /m, 'and asks anew, without an answer');
    syswrite $terminal, "Who are you?\n";
    wait_for($terminal, qr/\n[^\n]/, 'the next line is answered');
    for (1 .. 3) {
        syswrite $terminal, "\x03";
        select undef, undef, undef, 0.002;
    }
    wait_for($terminal, qr/^> /m, 'no number of Ctrl-C during an answer ends chat');
    syswrite $terminal, "/exit\n";
    my $drained = '';
    1 while sysread $terminal, $drained, 4096;
    waitpid $child, 0;
    is($?, 0, 'on a terminal: status 0');
}

done_testing;
