#!/usr/bin/perl
# cli-help.t - the words of the command: help of every subcommand, and what wrong words are told.
use strict;
use warnings;
use Cwd ();
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use Test::More;

my ($status, $out, $err) = run('--help');
is($status, 0, '--help');
my @all = ($out =~ s/^example:.*//msr) =~ /^  ([a-z]+) +\w/mg;
my @defined = read_file("$top/core/tools/command.h") =~ /\bcommand_(\w+)(?=[,;])/g;
is("@{[sort @all]}", "@{[sort @defined]}", '--help lists every subcommand');
is((run('--version'))[1], "vishwamai 0.1.0\n", '--version');
is((run('help', 'run'))[1], (run('run', '--help'))[1], 'help run is run --help');
($status, $out, $err) = run();
is("$status$out", '2', 'no word: status 2, and the help is no answer');
like($err, qr/^usage: vishwamai/, 'no word: the help');

for my $name (@all, 'bench gemm', 'bench gemm/cpu', 'bench attention', 'bench device', 'bench model') {
    ($status, $out, $err) = run(split(' ', $name), '--help');
    is("$status$err", '0', "$name --help");
    (my $kind = $name) =~ s{/.*}{};
    like($out, qr/^usage: vishwamai $kind .*^example:\n  vishwamai \w/ms, "$name: usage and example");
    next if $name eq 'bench';
    like($out, qr/^ +--json /m, "$name takes --json");
    like($out, qr/^ +-c, --config /m, "$name takes an INI file");
    like($out, qr/^ +--set /m, "$name takes settings");
}

fails(2, qr/^vishwamai: there is no subcommand 'rnu'; did you mean 'run'\? \(see 'vishwamai --help'\)\n\z/,
      'rnu');
fails(2, qr/^vishwamai: there is no subcommand 'transmogrify' \(see/, 'transmogrify');
fails(2, qr/^vishwamai: there is no option '--tmep'; did you mean '--temp'\? \(see 'vishwamai run --help'\)\n\z/,
      'run', '--tmep', '1');
fails(2, qr/^vishwamai: there is no option '-Q' \(see/, 'run', '-Q');
fails(2, qr/^vishwamai: '-n' needs a value: N \(see/, 'run', '-p', 'x', '-n');
fails(2, qr/^vishwamai: '--predict' needs a value: N \(see/, 'run', '-p', 'x', '--predict');
fails(2, qr/^vishwamai: --predict x: a whole number of at least -1 is expected \(see/,
      'run', '-p', 'x', '-n', 'x');
fails(2, qr/^vishwamai: --predict 1.5: a whole number/, 'run', '-p', 'x', '-n1.5');
fails(2, qr/^vishwamai: --predict -2: a whole number/, 'run', '-p', 'x', '-n', '-2');
fails(2, qr/^vishwamai: --predict 99999999999999999999: a whole number/,
      'run', '-p', 'x', '--predict=99999999999999999999');
fails(2, qr/^vishwamai: --json takes no value \(see/, 'run', '--json=yes');
fails(2, qr/^vishwamai: 'word' is not expected here \(see/, 'run', '-p', 'x', 'word');
fails(2, qr/^vishwamai: one of -p TEXT, -f FILE and --tokens IDS is needed/, 'run');
fails(2, qr/^vishwamai: one of -p TEXT, -f FILE and --tokens IDS is needed/,
      'run', '-p', 'x', '--tokens', '2');
fails(2, qr/^vishwamai: -f FILE is needed/, 'perplexity');
fails(2, qr/^vishwamai: at least one FILE is needed/, 'eval');
fails(2, qr/^vishwamai: one FILE is needed/, 'check');
fails(2, qr/^vishwamai: KIND and NAME are needed/, 'new', 'gemm');
fails(2, qr/^vishwamai: first say what: gemm, attention, device or model/, 'bench');
fails(2, qr/^vishwamai: there is no bench for 'comm'/, 'bench', 'comm');
fails(2, qr/^vishwamai: --shape 1,2: M,N,K is expected/, 'bench', 'gemm', '--shape', '1,2');
fails(2, qr/^vishwamai: --dtype int3: f32, bf16, .* or int4 is expected/, 'bench', 'gemm', '--dtype', 'int3');

# Settings are checked by the core; where they were said is told.
fails(2, qr/^vishwamai: --temp: \[sampling\] temperature = hot: not a number; a number from 0 to 100\n\z/,
      'run', '-p', 'x', '--temp', 'hot');
fails(2, qr/^vishwamai: --set #2: \[sampling\] temprature = 1: no such key; did you mean "temperature"\?\n\z/,
      'run', '-p', 'x', '--set', 'sampling.top_k=3', '--set', 'sampling.temprature=1');
fails(2, qr/^vishwamai: --set #1: /, 'run', '-p', 'x', '--set', 'nonsense');
fails(1, qr/^vishwamai: .*\/nowhere.*\n\z/, 'run', '-p', 'x', '-m', '/nowhere');
fails(2, qr/^vishwamai: -c 4096: the path of an INI file is expected; --ctx-size 4096 sets the context\n\z/,
      'run', '-p', 'x', '-c', '4096');
fails(1, qr/^vishwamai: \S+cli-help.t is a file; a model is given as a \*\.gguf file or as the folder /,
      'run', '-p', 'x', '-m', Cwd::abs_path($0));
SKIP: {
    skip 'tokenizer/sentencepiece is not built', 1 if !is_there('tokenizer/sentencepiece');
    fails(1, qr/^vishwamai: \/nowhere\/x: cannot be opened: No such file or directory\n\z/,
          'run', '-f', '/nowhere/x');
}

# An answer that cannot be written is a failure, not silence.
SKIP: {
    skip 'no /dev/full here', 1 if !-c '/dev/full';
    system("vishwamai tokenize -p x >/dev/full 2>$scratch/full");
    is($? >> 8, 1, 'a full disk gives status 1');
}
done_testing;
