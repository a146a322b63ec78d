#!/usr/bin/perl
# readme.t - what README.md tells people to type works; the table of the command's sources is whole.
#
# Run here: the vishwamai commands on the bundled model, and the INI example through `check'.  Left to
# others: bootstrap (it runs this), the plugin walk-through (make installcheck), benchmarks (their
# own test), training (cli-train.t), and lines that name a checkpoint which is not here.
use strict;
use warnings;
use File::Temp qw(tempdir);
use Test::More;

my $top = $ENV{top_srcdir} // '.';
my $built = $ENV{top_builddir} // '.';
open my $file, '<', "$top/README.md" or die "README.md: $!";
my $text = do { local $/; <$file> };

for my $path ($text =~ m{^\| `([\w/]+/)`}mg) {
    ok(-d "$top/$path", "$path, which the table of folders names, exists");
}
open my $makefile, '<', "$built/Makefile" or die "Makefile: $!";
my $rules = do { local $/; <$makefile> };
for my $target ($text =~ /`make ([a-z-]+)`/g) {
    like($rules, qr/^\Q$target\E:/m, "make $target exists");
}

# The table of the command's sources names each of them, and nothing else.
{
    open my $file, '<', "$top/core/tools/README.md" or die $!;
    my $tools = do { local $/; <$file> };
    my %named = map { $_ => 1 } map { /\w+\.c\b/g } $tools =~ /^\|(.*)\|$/mg;
    my %there = map { s{.*/}{}r => 1 } glob "$top/core/tools/*.c";
    is("@{[sort keys %named]}", "@{[sort keys %there]}", 'core/tools/README.md names every source');
    for my $test (grep { !/NAME/ } $tools =~ m{\bt/[\w-]+\.t\b}g) {
        ok(-f "$top/$test", "$test, which it names, exists");
    }
}

if (!-x "$built/vishwamai") {
    SKIP: { skip 'the command is not built', 1 }
    done_testing;
    exit;
}
my $scratch = tempdir(CLEANUP => 1);
for my $name ('loads.csv', 'new.csv') { # what the lines on balance read: two layers of 256 experts
    open my $csv, '>', "$scratch/$name" or die $!;
    print $csv join(',', map { 1 + $_ * 37 % 101 + ($name eq 'new.csv') } 1 .. 256), "\n" for 1, 2;
    close $csv;
}
for my $line ($text =~ /^    ((?:build\/t\/run )?vishwamai .*)$/mg) {
    $line =~ s/\s+#.*//;
    $line =~ s{^build/t/run }{};
    next if $line =~ m{/models/|\bnew\b|\bbench\b|\btrain\b|\bruns\b};
    SKIP: {
        if ($line =~ /(\w+)\.plugin=(\w+)/ && !-e "$built/.libs/$1_$2.so") {
            skip "$1/$2 is not built", 1;
        }
        my $words = `cd '$scratch' && $line 2>&1 </dev/null`;
        ok($? == 0 && ($words ne '' || $line =~ / > \S+$/), $line) or diag($words);
    }
}
my ($ini) = $text =~ /^```ini\n(.*?)^```/ms;
open my $example, '>', "$scratch/example.ini" or die $!;
print $example $ini;
close $example;
my $words = `vishwamai check '$scratch/example.ini' 2>&1`;
is($?, 0, 'the INI example passes its check') or diag($words);
$words = `vishwamai config -c '$scratch/example.ini' 2>&1`;
like($words, qr/gemma-2b/, 'and config prints it');
done_testing;
