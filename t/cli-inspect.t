#!/usr/bin/perl
# cli-inspect.t - `vishwamai inspect`, `check`, `config`, `new`: what is there, and what is set.
use strict;
use warnings;
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use Test::More;

# ---- inspect -----------------------------------------------------------------------------------
my $all = json_of('inspect')->{components};
# Where the project is installed too, its components come once more, hidden by those built here.
my %known = map { ("$_->{kind}/$_->{name}" => $_) } grep { $_->{usable} ne 'hidden' } @$all;
for my $name (qw(device/cpu gemm/ref gemm/cpu attention/ref weights/safetensors model/gemma
                 comm/self balance/eplb balance/static balance/vishwamai pipeline/gpipe optimizer/sgd
                 reasoning/direct verifier/exact),
              grep { is_there($_) } "tokenizer/sentencepiece") {
    ok($known{$name}, "$name is there");
    is($known{$name}{usable}, 'yes', "$name is usable");
    ok(length $known{$name}{$_}, "$name: $_") for qw(summary version license author url path);
}
my ($status, $out, $err) = run('inspect');
is($status, 0, 'inspect');
is(scalar(grep { /^\S/ } split /\n/, $out), 1 + @$all, 'a line for each');
is(scalar(grep { length > 100 && !m{/\S{50}} } split /\n/, $out), 0, 'folded at 100 columns');
like($out, qr/^gemm\/cpu +yes +\d+ +\d+  \S/m, 'with verdict, rank, score and reason');
is(scalar(grep { $_->{kind} ne 'gemm' } @{ json_of('inspect', 'gemm')->{components} }), 0,
   'inspect KIND');

my $cpu = json_of('inspect', 'gemm/cpu');
is("$cpu->{kind}/$cpu->{name}", 'gemm/cpu', 'inspect KIND/NAME');
my %option = map { ($_->{key} => $_) } @{ $cpu->{options} };
is($option{activations}{type}, 'enum', 'an option: type');
is_deeply($option{activations}{choices}, ['f32', 'int8', 'int7'], 'its choices');
is($option{activations}{default}, 'f32', 'its default');
ok(length $option{activations}{help}, 'its help');
($status, $out) = run('inspect', 'gemm/cpu');
like($out, qr/^  usable +yes, score \d+.*^options:\n.*^  activations \(enum: f32, int8, int7; default f32\)\n/ms,
     'the same for people');

($status, my $ini) = run('inspect', '--ini', 'gemm/cpu');
like($ini, qr/^\[gemm\.cpu\]\n/, '--ini prints a section');
is((run('check', write_file('section.ini', $ini)))[0], 0, 'which is valid');
for my $section ('kv', 'gemm') {
    ($status, $ini) = run('inspect', '--ini', $section);
    like($ini, qr/^\[$section\]\n; .*\n\w+ = /m, "--ini $section prints a section of the core");
    is((run('check', write_file('section.ini', $ini)))[0], 0, 'which is valid');
}
like($ini, qr/^threads = 0$/m, 'with what is common to the kind');
is("@{[ (run('inspect', '--exists', 'gemm/cpu'))[0, 1] ]}", '0 ', '--exists: yes');
is("@{[ (run('inspect', '--exists', 'gemm/nothing'))[0, 1] ]}", '1 ', '--exists: no');
my $about = json_of('inspect', 'model/gemma', '-m', $model);
is($about->{usable}, 'yes', '-m: the probe sees the folder');
is(json_of('inspect', 'model/gemma', '-m', $scratch)->{usable}, 'no', 'and says no to another');

# The memory plan, from the sizes in config.json: 5 layers of 8 experts of 3 matrices 192 x 128 in
# bf16; keys and values of 2 heads of 32 in f32 for 256 tokens.
my $base = ($ENV{top_srcdir} // '.') . '/etc/models/tiny-vishwamai';
my $plan = json_of('inspect', '-m', $base, '--set', 'model.expert_memory=1M')->{memory};
is($plan->{streamed}, 5 * 8 * 3 * 192 * 128 * 2, 'memory: experts stay in the file');
is($plan->{kv_context}, 5 * 2 * 2 * 32 * 4 * 256, 'memory: the cache of a whole context');
cmp_ok($plan->{expert_cache}, '<=', 1 << 20, 'memory: expert_memory bounds what is in use');
is($plan->{expert_cache}, $plan->{experts_in_memory} * $plan->{expert_bytes}, 'in whole experts');
is("$plan->{experts} $plan->{expert_reads}", '40 40', 'each of them one read');
is($plan->{total}, $plan->{in_place} + $plan->{packed} + $plan->{expert_cache} + $plan->{kv_pool}
   + $plan->{scratch}, 'memory: the total');
like((run('inspect', '-m', $base))[1], qr/memory of \Q$base\E: VishwamAI base, .* MiB  all but what stays/s,
     'the same for people');
is(json_of('inspect', '-m', $base)->{memory}{streamed}, 0, 'nothing is streamed unless it is asked for');
my @none = run('inspect', '-m', $model, '--set', 'model.expert_memory=1M');
is($none[0], 2, 'experts of a model that has none: status');
like($none[2], qr/^vishwamai: .*this model has no experts/, 'the sentence');

fails(2, qr/^vishwamai: there is no kind 'gem'; the kinds are device, gemm, /, 'inspect', 'gem');
fails(1, qr/^vishwamai: gemm\/nothing is not installed/, 'inspect', 'gemm/nothing');
fails(2, qr/^vishwamai: --ini needs KIND\/NAME, or a section/, 'inspect', '--ini');
fails(2, qr/^vishwamai: there is no section \[samplin\]; did you mean \[sampling\]\?/, 'inspect', '--ini', 'samplin');
fails(2, qr/^vishwamai: 'gemm\/' names no component/, 'inspect', $_, 'gemm/') for '--exists', '--ini', '--json';

# ---- a model's configuration that is no use is told once ----------------------------------------
mkdir "$scratch/$_" for 'broken', 'empty';
write_file('broken/config.json', '{');
fails(1, qr{^vishwamai: \Q$scratch\E/broken/config\.json: line 1, column 1: not valid JSON[^\n]*\n\z}, 'run', '-m', "$scratch/broken", '-p', 'x');
my ($said) = (run('run', '-m', "$scratch/empty", '-p', 'x'))[2] =~ /\A(.*)\n\z/;
is(scalar(() = ($said // '') =~ m{empty/config\.json cannot be read: No such file or directory}g), 1,
   'a folder without config.json') or diag($said);

# ---- check -------------------------------------------------------------------------------------
my $good = write_file('good.ini', "[sampling]\ntemperature = 0.5\n[gemm]\nplugin = ref\n");
is((run('check', $good))[1], "$good: ok\n", 'check: ok');
my $bad = write_file('bad.ini', "[sampling]\ntemprature = 0.5\ntop_p = 7\n[gemmm]\nplugin = ref\n");
($status, $out, $err) = run('check', $bad);
is("$status$out", '1', 'check: status 1');
my @lines = split /\n/, $err;
is(scalar @lines, 3, 'every error at once');
is(scalar(grep { /^vishwamai: \Q$bad\E:\d+: \[/ } @lines), 3, 'each with file, line and section');
(undef, $out) = run('check', $bad, '--json');
my $told = JSON::PP->new->utf8->decode($out);
is($told->{ok} ? 1 : 0, 0, '--json: ok is false');
is(scalar @{ $told->{errors} }, 3, '--json: the errors');
is(json_of('check', $good)->{errors}[0], undef, '--json: none');
my $many = write_file('many.ini', join "\n", '[sampling]', map { "wrong_$_ = 1" } 1 .. 40);
for my $command (['check'], ['config', '-c']) {
    (undef, undef, $err) = run(@$command, $many);
    is(join(' ', $err =~ /\] wrong_(\d+) = 1: no such key/g), "@{[1 .. 40]}", "@$command: each of forty errors");
    is(scalar(() = $err =~ /\n/g), 40, 'and no other line');
}
($status, $out) = run('check', $many, '--json');
$told = JSON::PP->new->utf8->decode($out);
is(scalar(grep { /\] wrong_\d+ = 1: no such key/ } @{ $told->{errors} }), 40, '--json: the same');
is("$status @{[scalar @{ $told->{errors} }]} @{[scalar @{ $told->{warnings} }]}", '1 40 0', '--json: nothing else');
$told = json_of('check', write_file('dormant.ini', "[gemm.cpuu]\nthreads = 1\n"));
is(scalar @{ $told->{errors} }, 0, 'a section of no installed plugin is no error');
like("@{ $told->{warnings} }", qr/dormant\.ini:2: the section of gemm\/cpuu is not checked: .*did you mean "cpu"/,
     'but a warning');
$told = JSON::PP->new->utf8->decode((run('check', $good, '--json', '--set', 'gemm'))[1]);
like("@{ $told->{errors} }", qr/^--set #1: "gemm": no '='/, '--json: an error of the command line');
is((run('check', '/nowhere.ini'))[0], 1, 'a file that is not there');

# ---- config ------------------------------------------------------------------------------------
my @settings = ('-c', $good, '--set', 'sampling.top_k=3', '--set', 'gemm.cpu.activations=int8');
($status, my $effective) = run('config', @settings);
is($status, 0, 'config');
like($effective, qr/^temperature = 0\.5 +; .*\Qgood.ini:2\E/m, 'a value from the file, with its line');
like($effective, qr/^top_k = 3 +; .*--set #1/m, 'a value from --set');
my $again = write_file('effective.ini', $effective);
is((run('check', $again))[0], 0, 'what it prints is valid');
sub values_of { return join "\n", map { s/ *;.*//r } grep { !/^;/ } split /\n/, $_[0] }
is(values_of((run('config', '-c', $again))[1]), values_of($effective), 'and means the same');
my %setting = map { ("$_->{section}.$_->{key}" => $_) } @{ json_of('config', @settings)->{settings} };
is($setting{'sampling.temperature'}{value}, '0.5', '--json: value');
like($setting{'sampling.temperature'}{origin}, qr/good\.ini:2/, '--json: origin');
is($setting{'sampling.min_p'}{origin}, 'default', '--json: a default');
is($setting{'gemm.cpu.activations'}{value}, 'int8', "--json: a plugin's own option");

my $labels = write_file('labels.ini', "[gemm:fast]\n[gemm:other.cpu]\npack = yes\n[model]\ngemm = fast\n" .
                        "[gemm:third]\nplugin = ref\n[gemm.cpuu]\nx = 1\n");
my %form = map { ("$_->{section}.$_->{key}" => $_->{value}) } @{ json_of('config', '-c', $labels)->{settings} };
is_deeply([@form{'gemm:fast.plugin', 'gemm:other.cpu.pack', 'gemm:third.plugin', 'gemm.cpuu.x', 'model.gemm'}],
          ['auto', 'yes', 'ref', '1', 'fast'], '--json: labelled sections');
($status, $effective) = run('config', '-c', $labels);
my ($in, @absent) = '';
for (split /\n/, $effective) {
    $in = $1 if /^\[(.*)\]$/;
    push @absent, "$in.$1" if /^(\w+) = / && !exists $form{"$in.$1"};
}
is("@absent", '', '--json: all that the text has');
is((run('check', write_file('again.ini', $effective)))[0], 0, 'the text names the sections of all labels');

for my $preset (glob "$top/etc/presets/*.ini") {
    is((run('check', $preset))[0], 0, "$preset is valid");
}

fails(2, qr/^vishwamai: --config is given twice: '\Q$good\E' and '\Q$labels\E'; let one include the other/,
      'config', '-c', $good, '-c', $labels);

# ---- new ---------------------------------------------------------------------------------------
my $folder = "$scratch/mine";
SKIP: {
    skip 'the plugin template is not there', 5 if !-f "$top/plugins/template/gemm.c";
    my $made = json_of('new', 'gemm', 'mine', '--dir', $folder) // { files => 0 };
    cmp_ok($made->{files}, '>', 0, 'new: files are made');
    ok(-f "$folder/mine.c" && !-f "$folder/gemm.c" && !-f "$folder/model.c", "the source of the kind alone");
    my $left = join '', map { read_file($_) } glob "$folder/*";
    unlike($left, qr/\@(?:KIND|NAME)\@/, 'no placeholder is left');
    like($left, qr/VW_PLUGIN_DEFINE\(gemm, mine\)/, 'it defines gemm/mine');
    fails(1, qr/^vishwamai: \Q$folder\E: exists already\n\z/, 'new', 'gemm', 'mine', '--dir', $folder);
}
fails(2, qr/^vishwamai: there is no kind 'gem'/, 'new', 'gem', 'mine', '--dir', "$scratch/a");
fails(2, qr/^vishwamai: 'Mine' cannot name a plugin: a letter, then letters, digits or '_', all lower case/,
      'new', 'gemm', 'Mine', '--dir', "$scratch/a");
fails(2, qr/cannot name a plugin/, 'new', 'gemm', '../mine', '--dir', "$scratch/a");
ok(!-e "$scratch/a", 'nothing was made');
done_testing;
