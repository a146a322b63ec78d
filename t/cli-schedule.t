#!/usr/bin/perl
# cli-schedule.t - `vishwamai schedule': its answers, its refusals, its drawings.
use strict;
use warnings;
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use Test::More;

my @names = qw(1f1b dualpipe dualpipev gpipe search zb1p);
sub schedule { return ('schedule', shift, '--ranks', shift, '--microbatches', shift, @_) }

# ---- JSON: the keys and the notation are an interface

my $one = json_of(schedule('dualpipe', 4, 8, '--overlap', 3));
is(join(' ', sort keys %$one), 'bubble makespan peak_activations ranks', 'the keys');
my ($expected) = read_file("$top/t/data/schedules.txt") =~ /^dualpipe 4 8 \w+\n((?:F.*\n){4})/m;
is(join('', map { "$_\n" } @{ $one->{ranks} }), $expected, 'ranks: compute steps as published');
is($one->{makespan}, 26, 'makespan');
is_near($one->{bubble}, 2 / 26, 1e-12, 'bubble: each of 4 ranks idles 2 of 26');
is("@{ $one->{peak_activations} }", '5 5 5 5', 'activations: P + 1');

is(json_of(schedule('dualpipe', 8, 20))->{makespan}, 59, 'the defaults: 1, 2, 1, 2.5, 0');
is(json_of(schedule('zb1p', 8, 20))->{makespan}, 67, 'zb1p');
$one = json_of(schedule('1f1b', 2, 1, qw(--forward 3 --backward 5 --comm 0.5)));
is($one->{makespan}, 3 + 0.5 + 3 + 5 + 0.5 + 5, 'durations and messages');
$one = json_of(schedule('1f1b', 3, 1, '--comm', '0.5,0.25'));
is($one->{makespan}, 3 * 3 + 2 * 0.75, 'messages of each link');
$one = json_of(schedule('pipeline/search', 4, 6, qw(--max-activations 3 --set pipeline.search.effort=0.1)));
is((grep { $_ > 3 } @{ $one->{peak_activations} }) + 0, 0, 'search keeps within a limit');

# ---- text: it fits

for my $columns (60, 100) {
    local $ENV{COLUMNS} = $columns;
    for my $name (@names) {
        my ($status, $out) = run(schedule($name, 4, 8, qw(--set pipeline.search.effort=0.1)));
        my @lines = split /\n/, $out;
        is($status, 0, "$name, $columns columns");
        like($lines[0], qr/^$name: 4 ranks, 8 micro-batches, [48] stages; makespan [\d.]+, bubble [\d.]+ %, \d/,
             'the figures');
        is(scalar(grep { /^ +[0-3] \|.*\|$/ && length == $columns } @lines[1 .. 4]), 4,
           'a line a rank, as wide as the terminal');
        like($lines[5], qr/^time  0 +[\d.]+$/, 'and a scale');
    }
}
{
    local $ENV{COLUMNS} = 7 + 33 * 3;
    my ($status, $out) = run(schedule('1f1b', 4, 8));
    like($out, qr/^   3 \|\.{9}F0 B0    F1 B1    F2 B2 /m, 'names where they fit');
    $ENV{COLUMNS} = 7 + 33;
    ($status, $out) = run(schedule('1f1b', 4, 8));
    like($out, qr/^   3 \|\.\.\.FB-FB-FB-/m, 'letters where they do not');
}

# ---- all of them

my $all = json_of('schedule', '--compare', qw(--ranks 8 --microbatches 20 --overlap 3
                  --set pipeline.search.effort=0.1));
my %by = map { $_->{name} => $_ } @{ $all->{schedules} };
for my $name (@names) {
    ok($by{$name}{makespan}, "$name is compared");
}
is($by{'1f1b'}{makespan}, 81, '1f1b: n(F + B) + (P - 1)(F + B)');
is($by{dualpipe}{makespan}, 66, 'dualpipe');
is($by{dualpipe}{parameters}, 2, 'dualpipe has two copies of the model');
is($by{dualpipev}{parameters}, 1, 'dualpipev one');
is($by{dualpipev}{activations}, 8.5, 'dualpipev: 17 stages of half a share');
# DualPipeV on 8 ranks is half the durations of DualPipe's formula with H = 8, m = 20.
is($by{dualpipev}{makespan}, (17 * 1 + 17 * 2 + 23 * 3 + 7 * (3 + 2 - 3)) / 2, 'and its steps are half');
cmp_ok($by{search}{makespan}, '<=', $by{dualpipev}{makespan}, 'search is not worse than what it starts from');

my ($status, $out, $err) = run('schedule', '--compare', qw(--ranks 3 --microbatches 6
                               --set pipeline.search.effort=0.1));
is($status, 0, '--compare where one refuses');
like($out, qr/^dualpipe +pipeline\/dualpipe: two directions need an even number of ranks, not 3/m,
     'who refuses says why');
like($out, qr/^1f1b +\d/m, 'the others have their figures');
is(scalar(grep { length > 120 } split /\n/, $out), 0, 'no line is long');

# ---- refusals

fails(1, qr/^vishwamai: pipeline\/1f1b: the weights' part of a backward, 3, is longer than the whole, 2; /,
      'schedule', '--compare', qw(--ranks 2 --microbatches 4 --weight 3 --set pipeline.search.effort=0.1));

fails(1, qr/^vishwamai: pipeline\/dualpipe: two directions need an even number of ranks, not 5; dualpipev takes any\n\z/,
      schedule('dualpipe', 5, 20));
fails(1, qr/^vishwamai: pipeline\/dualpipe: 4 ranks need at least 8 micro-batches, two for each rank, not 6\n\z/,
      schedule('dualpipe', 4, 6));
fails(1, qr/^vishwamai: pipeline\/1f1b: it keeps 4 activations, more than the 3 that are allowed\n\z/,
      schedule('1f1b', 4, 8, '--max-activations', 3));
fails(1, qr/^vishwamai: pipeline\/1f1b: the weights' part of a backward, 3, is longer than the whole, 2; it is a part of it\n\z/,
      schedule('1f1b', 4, 8, '--weight', 3));
fails(1, qr/^vishwamai: pipeline\/dualpip: no pipeline plugin of this name; did you mean "dualpipe"\?/,
      schedule('dualpip', 4, 8));
fails(2, qr/^vishwamai: --comm 1,2: 2 durations, but 4 ranks in a row have 3 links\n\z/,
      schedule('1f1b', 4, 8, '--comm', '1,2'));
fails(2, qr/^vishwamai: --comm 1,x,2: 'x' is no duration\n\z/, schedule('1f1b', 4, 8, '--comm', '1,x,2'));
fails(2, qr/^vishwamai: --comm much: a duration is expected, or one for each link between neighbours, separated by commas\n\z/,
      schedule('1f1b', 4, 8, '--comm', 'much'));
fails(2, qr/^vishwamai: the NAME of a schedule is needed, or --compare \(see/, qw(schedule --ranks 2));
fails(2, qr/^vishwamai: --ranks P and --microbatches N are needed \(see/, qw(schedule 1f1b --ranks 2));
fails(2, qr/^vishwamai: --compare shows all schedules; '1f1b' is not expected \(see/,
      schedule('1f1b', 2, 4, '--compare'));
fails(2, qr/^vishwamai: '2f2b' is not expected here \(see/, qw(schedule 1f1b 2f2b));
fails(2, qr/^vishwamai: --ranks 0: a whole number from 1 to 512 is expected/, schedule('1f1b', 0, 4));
fails(2, qr/^vishwamai: --forward -1: a number of at least 0 is expected/,
      schedule('1f1b', 2, 4, '--forward', '-1'));
fails(1, qr/^vishwamai: \/nowhere\/x\.svg: cannot be written: No such file or directory\n\z/,
      schedule('1f1b', 2, 4, '--svg', '/nowhere/x.svg'));

# ---- drawings

my %drawn = (
    dualpipe => [schedule('dualpipe', 8, 20)],
    search => [schedule('search', 4, 10, qw(--comm 0.2 --set pipeline.search.effort=0.1))],
    many => [schedule('zb1p', 16, 64)],
    compare => ['schedule', '--compare', qw(--ranks 4 --microbatches 8 --set pipeline.search.effort=0.1)],
);
for my $what (sort keys %drawn) {
    my $file = "$scratch/$what.svg";
    ($status) = run(@{ $drawn{$what} }, '--svg', $file);
    is($status, 0, "$what is drawn");
    my $svg = read_file($file);
    like($svg, qr/forward \(F\).*(?:bubble [\d.]+ %).*<\/svg>\n\z/s, 'with a legend and the bubble');
    my ($width, $height) = $svg =~ /^<svg [^>]*width="([\d.]+)" height="([\d.]+)"/;
    my @outside = grep { $_->[0] < 0 || $_->[0] > $width || $_->[1] < 0 || $_->[1] > $height }
        map { [/ x="(-?[\d.]+)" y="(-?[\d.]+)"/] } $svg =~ /<(?:rect|text) x="[^>]*>/g;
    is(scalar @outside, 0, 'nothing lies outside');
    SKIP: {
        skip 'no rsvg-convert (librsvg2-bin)', 2 if system('rsvg-convert --version >/dev/null 2>&1') != 0;
        is(system("rsvg-convert '$file' -o '$scratch/$what.png'"), 0, 'it becomes a PNG');
        cmp_ok(-s "$scratch/$what.png", '>', 4000, 'which is not empty');
    }
}
($status, $out) = run(@{ $drawn{dualpipe} }, '--svg', '-');
is($out, read_file("$scratch/dualpipe.svg"), '--svg - writes the drawing alone');
# Every compute step has its number: 8 ranks, 282 steps, of which pairs have two.
my $n_pairs = () = $out =~ /F\d+'?\+B/g;
my $n_numbers = () = $out =~ /<text [^>]*>\d<\/text>/g;
is($n_numbers, 282 + $n_pairs / 2 + 8 + 1, 'every step is numbered, ranks have their peak, the axis its 0');

# What the kinds look like in grey is measured where pixels can be read.
SKIP: {
    skip 'no rsvg-convert or no ImageMagick', 1
        if system('rsvg-convert --version >/dev/null 2>&1 && convert -version >/dev/null 2>&1') != 0;
    my @greys = sort { $a <=> $b } map { my ($c) = `convert xc:'$_' -colorspace Gray -depth 8 txt:-` =~ /\((\d+)/; $c }
        grep { $out =~ /fill="$_"/ } ('#f0b83c', '#123a5e', '#7b3f98', '#45a5b5', '#e9e9e9');
    is(scalar(grep { $greys[$_] - $greys[$_ - 1] < 15 } 1 .. $#greys) . ' of ' . @greys, '0 of 5',
       'five fills, apart in grey');
}
done_testing;
