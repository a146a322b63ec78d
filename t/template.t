#!/usr/bin/perl
# template.t - a plugin of every kind, made by `vishwamai new', builds, loads and is listed; a gemm made
# so generates the text that the reference gemm generates, a schedule passes the test of its kind.
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

# Files that the commands at the heads of the templates read.
my %files = (balance => write_text('loads.csv', "4,3,2,1,1,1,1,1\n"),
             optimizer => write_text('train.ini', <<"END"));
[tokenizer]
plugin = chars
[model]
plugin = vishwamai
[model.vishwamai]
num_layers = 1
num_heads = 1
num_kv_heads = 1
hidden_dim = 16
head_dim = 16
mlp_dim = 32
[data]
train = ${\write_text('words.txt', 'to be or not to be ' x 500)}
max_length = 16
[train]
max_steps = 1
warmup_steps = 0
out = $folder/run
END

sub read_text {
    open my $file, '<', $_[0] or die "$_[0]: $!";
    local $/;
    return <$file>;
}

sub write_text {
    my ($name, $text) = @_;
    open my $file, '>', "$folder/$name" or die "$name: $!";
    print $file $text;
    close $file or die "$name: $!";
    return "$folder/$name";
}

# The output of a command, with what it says on stderr; its failure is a failed test.
sub run_ok {
    my ($command, $what) = @_;
    my $text = `cd $folder && { $command; } 2>&1`;
    ok($? == 0, $what) or diag("$command\n$text");
    return $text;
}

my $has_tokenizer = system('vishwamai tokenize -p x >/dev/null 2>&1') == 0; # of the bundled model

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

    # What its head says to try reaches the plugin, which works or says itself what it lacks.
    my ($head) = read_text("$dir/mine.c") =~ m{\A/\*(.*?)\*/}s;
    my @lines = $head =~ /^ \*     VW_PLUGIN_PATH=\. (vishwamai .*)/mg;
    ok(@lines || $head =~ /No subcommand asks for a $kind yet/, "$kind: its head says how to try it");
    for my $line (@lines) {
        next if $line =~ /^vishwamai run/ && !$has_tokenizer;
        (my $words = $line) =~ s/\bFOLDER\b/$source\/etc\/models\/tiny-gemma/;
        $words =~ s/\bFILE\b/$files{$kind}/;
        $words .= ' --help' if $line =~ /^vishwamai bench/; # which takes long
        $text = `cd $folder && VW_PLUGIN_PATH=$dir:$installed $words 2>&1`;
        ok($? == 0 || $text =~ m{\b$kind/mine\b}, "$kind: $line") or diag("status $?: $text");
    }
}

# A schedule from the template is right: the conformance test of its kind runs on it alone, and so
# does the command.
SKIP: {
    my $test = ($ENV{top_builddir} // '.') . '/t/kind-pipeline.t';
    skip('the test of the kind is not built', 10) if !-x $test;
    $test = Cwd::abs_path($test);
    my $path = "VW_PLUGIN_PATH=$folder/pipeline";
    my $text = run_ok("cd pipeline && VW_ALL_SIZES=1 $make -s conformance CONFORMANCE=$test",
                      'the kind\'s test runs on a schedule from the template');
    like($text, qr/^ok \d+ - mine: 1024 sizes, 0 refused, of 1024$/m, 'for all sizes');
    # One micro-batch after the other, on three ranks: n P (F + B).
    $text = run_ok("$path vishwamai schedule mine --ranks 3 --microbatches 2", 'the command shows it');
    like($text, qr/^mine: 3 ranks, 2 micro-batches, 3 stages; makespan 18, bubble 66\.7 %/m, 'its figures');

    # It now wants a gradient before it sends what the gradient is of.
    run_ok("sed -i -e s/VW_STEP_SEND_FORWARD/TEMPORARY/ -e s/VW_STEP_RECEIVE_BACKWARD/VW_STEP_SEND_FORWARD/ "
           . "-e s/TEMPORARY/VW_STEP_RECEIVE_BACKWARD/ pipeline/mine.c && cd pipeline && $make -s",
           'a schedule that is wrong');
    my $why = 'pipeline/mine: rank 0, step 1 (receive B0 from 1): deadlock: it waits for rank 1, which '
        . 'waits at its step 0';
    is(`$path vishwamai schedule mine --ranks 3 --microbatches 2 2>&1`, "vishwamai: $why\n",
       'the command says what is wrong');
    $text = `VW_PLUGIN_PATH=$folder/pipeline:$installed vishwamai schedule --compare --ranks 3 --microbatches 2 2>&1`;
    like($text, qr/^mine +\Q$why\E$/m, 'and shows the others beside it');
    like($text, qr/^1f1b +12 /m, 'with their figures');
    $text = `$path $test 2>&1`;
    isnt($?, 0, 'the test of its kind fails');
    like($text, qr/^not ok \d+ - mine: 4 ranks, 8 micro-batches: rank 0, step 1 .*: deadlock:/m, 'and says why');
}

# A gemm from the template does what its kind must, as little as it supports.
SKIP: {
    my $test = ($ENV{top_builddir} // '.') . '/t/kind-gemm.t';
    skip('t/kind-gemm.t is not built', 2) if !-x $test;
    my $text = run_ok("cd gemm && $make -s conformance CONFORMANCE=" . Cwd::abs_path($test),
                      'gemm: the conformance test');
    like($text, qr/^ok \d+ - mine: more rows than planned are an error$/m, 'gemm: it was looked at');
}

# A balance plugin from the template keeps the rules of its kind from the first day, and one that
# breaks them is found.
SKIP: {
    my $test = ($ENV{top_builddir} // '.') . '/t/kind-balance.t';
    skip('t/kind-balance.t is not built', 3) if !-x $test;
    my $text = run_ok("cd balance && $make -s conformance CONFORMANCE=" . Cwd::abs_path($test),
                      'balance: the conformance test');
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
