#!/usr/bin/perl
# cli-tokenize.t - `vishwamai tokenize`: against another implementation, and there and back.
use strict;
use warnings;
use utf8;
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use Encode;
use Test::More;

needs('tokenizer/sentencepiece');

binmode Test::More->builder->$_, ':utf8' for qw(output failure_output);

for my $case (@{ reference()->{tokenize} }) {
    my ($text, @ids) = ($case->{text}, @{ $case->{ids_without_bos} });
    my $bytes = encode_utf8($text);
    (my $name = "'$text'") =~ s/[\n\t]/ /g;
    is_deeply(json_of('tokenize', '-p', $bytes)->{tokens}, \@ids, "$name: ids");
    is_deeply(json_of('tokenize', '-p', $bytes, '--bos')->{tokens}, [2, @ids], "$name: --bos");
    is((run('tokenize', '-p', $bytes))[1], "@ids\n", "$name: ids as text");
    is(json_of('tokenize', '--decode', '--tokens', "@ids")->{text}, $text, "$name: and back");
    is((run('tokenize', '--decode', '--tokens', "@ids"))[1], $bytes, "$name: and back, as text");
}

my $novel = "$top/t/data/frankenstein.val.txt";
my ($status, $ids, $err) = run('tokenize', '-f', $novel);
is($status, 0, 'a file');
chomp $ids;
is((run('tokenize', '--decode', '--tokens', $ids))[1], read_file($novel), 'a whole file and back');
is((run_with('Hello, world', 'tokenize', '-f', '-'))[1], "976 549 940 952 870\n", 'standard input');
my (undef, $pieces) = run('tokenize', '-p', encode_utf8('café'), '--pieces');
like($pieces, qr/^ +954  'c'\n.*^ +1023  '\\xC3\\xA9'\n\z/ms, '--pieces');

# --save, as `train' reads it: two bytes a token, or four.
my $file = "$scratch/ids.u16";
is((run('tokenize', '-p', 'Hello, world', '--save', $file))[1], '', '--save prints nothing');
is(read_file($file), pack('v*', 976, 549, 940, 952, 870), 'and writes two bytes a token');
is_deeply(json_of('tokenize', '-p', 'Hello', '--save', "$scratch/ids.u32")->{tokens}, [976, 549, 940],
          '--save --json answers as well');
is(read_file("$scratch/ids.u32"), pack('V*', 976, 549, 940), 'four bytes a token');
# A disk that is full in the middle: what was there stays whole.
my $pid = fork // die "fork: $!";
if (!$pid) {
    $SIG{XFSZ} = 'IGNORE';
    open STDERR, '>', "$scratch/err" or die $!;
    exec 'sh', '-c', 'ulimit -f 8 && exec vishwamai "$@"', 'sh', 'tokenize', '-f', $novel, '--save',
        $file or exit 127;
}
waitpid $pid, 0;
is($? >> 8, 1, 'a file that cannot be written in full');
like(read_file("$scratch/err"), qr/^vishwamai: \Q$file\E: cannot be written: File too large/, 'is told');
is(read_file($file), pack('v*', 976, 549, 940, 952, 870), 'and what was there stays whole');
is(join(' ', grep { /\.tmp\z/ } glob "$scratch/ids*"), '', 'no temporary file is left');
fails(2, qr/^vishwamai: --save, --pieces and --bos belong to encoding, not to --decode/,
      'tokenize', '--decode', '--tokens', '976', $_->[0], @$_[1 .. $#$_])
    for ['--save', $file], ['--pieces'], ['--bos'];
fails(2, qr/^vishwamai: --pieces is for people; it does not go with --json/,
      'tokenize', '-p', 'a', '--pieces', '--json');

fails(2, qr/^vishwamai: one of -p TEXT, -f FILE and --decode --tokens IDS is needed/, 'tokenize');
fails(2, qr/^vishwamai: --decode needs --tokens IDS and no text/, 'tokenize', '--decode');
fails(1, qr/^vishwamai: token 1024 is not in the vocabulary of 1024 tokens/,
      'tokenize', '--decode', '--tokens', '1024');
done_testing;
