#!/usr/bin/perl
# template.t - a plugin of every kind, made by `vishwamai new', builds, loads and is listed; a gemm made
# so generates the text that the reference gemm generates.
use strict;
use warnings;
use Cwd;
use File::Temp qw(tempdir);
use Test::More;

my $source = Cwd::abs_path($ENV{top_srcdir} // '.');
my $folder = tempdir(CLEANUP => 1);
my $installed = $ENV{VW_PLUGIN_PATH} // '';
my @kinds = qw(device gemm attention comm balance pipeline tokenizer weights optimizer model reasoning
               verifier);

# Here the headers are those of the sources; against an installed tree pkg-config finds them.
my $make = "make VISHWAMAI_CFLAGS=-I$source/core/include CC='" . ($ENV{CC} // 'cc') . "'";

# The output of a command, with what it says on stderr; its failure is a failed test.
sub run_ok {
    my ($command, $what) = @_;
    my $text = `cd $folder && { $command; } 2>&1`;
    ok($? == 0, $what) or diag("$command\n$text");
    return $text;
}

for my $kind (@kinds) {
    my $dir = "$folder/$kind";
    run_ok("vishwamai new $kind mine --dir $dir", "$kind: new");
    ok(-f "$dir/mine.c" && !-e "$dir/$kind.c", "$kind: its source has the plugin's name");
    is(`grep -rl '\@[A-Z_]*\@' $dir`, '', "$kind: no placeholder is left");
    my $text = run_ok("cd $dir && $make -s", "$kind: make");
    is($text, '', "$kind: without a warning");
    run_ok("cd $dir && $make -s check", "$kind: make check");
    $text = run_ok("VW_PLUGIN_PATH=$dir:$installed vishwamai inspect $kind/mine", "$kind: inspect");
    like($text, qr/\bmine\b/, "$kind: it is listed");
}

# A balance plugin from the template keeps the rules of its kind from the first day, and one that
# breaks them is found.
SKIP: {
    my $test = ($ENV{top_builddir} // '.') . '/t/kind-balance.t';
    skip('t/kind-balance.t is not built', 3) if !-x $test;
    my $text = run_ok("VW_PLUGIN_PATH=$folder/balance $test", 'balance: the conformance test');
    like($text, qr/^ok \d+ - mine: 256 experts, 320 slots/m, 'balance: it was looked at');
    my $source = "$folder/balance/mine.c";
    system("sed -i 's/copy\\[s\\] = .*;/copy[s] = 0;/' $source && cd $folder/balance && $make -s");
    $text = `VW_PLUGIN_PATH=$folder/balance $test 2>&1`;
    like($text, qr/^not ok \d+ - mine: .*slots are copy 0 of expert/m, 'balance: and is looked at hard');
}

SKIP: {
    my $run = 'vishwamai run -p "ROMEO:" -n 8 --temp 0';
    my $path = "VW_PLUGIN_PATH=$folder/gemm:$installed";
    my $want = `$path $run --set gemm.plugin=ref 2>&1`;
    skip('the bundled model does not run here', 1) if $? != 0;
    is(`$path $run --set gemm.plugin=mine 2>&1`, $want, 'a gemm from the template: the same text');
}

done_testing();
