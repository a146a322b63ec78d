#!/usr/bin/perl
# cli-balance.t - `vishwamai balance`: the answer and its figures, files that are wrong, the drawing.
use strict;
use warnings;
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use Test::More;

needs('balance/eplb', 'balance/static', 'balance/vishwamai');

# The two layers of the README of EPLB.
my @loads = ([90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86],
             [20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27]);
my @published = ([5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1],
                 [7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1]);

sub csv { return write_file(shift, join '', map { join(',', @$_) . "\n" } @_) }

# Largest over mean of a layer, from the placement alone.
sub max_over_mean {
    my ($load, $slots, $devices) = @_;
    my ($total, $most, %copies) = (0, 0);
    $copies{$_}++ for @$slots;
    my $n = @$slots / $devices;
    for my $d (0 .. $devices - 1) {
        my $sum = 0;
        $sum += $load->[$_] / $copies{$_} for @$slots[$d * $n .. ($d + 1) * $n - 1];
        $total += $sum;
        $most = $sum if $sum > $most;
    }
    return $most * $devices / $total;
}

sub moves {
    my ($before, $after, $devices) = @_;
    my ($n, $moves) = (@$before / $devices, 0);
    for my $d (0 .. $devices - 1) {
        my %had = map { $_ => 1 } @$before[$d * $n .. ($d + 1) * $n - 1];
        $moves += grep { !$had{$_} } @$after[$d * $n .. ($d + 1) * $n - 1];
    }
    return $moves;
}

my $file = csv('loads.csv', @loads);
my @sizes = ('--replicas', 16, '--groups', 4, '--nodes', 2, '--devices', 8);
my @words = ('balance', '--loads', $file, @sizes);

# JSON, of every plugin.
my $got = json_of(@words, '--plugin', 'eplb');
is_deeply([sort keys %$got], ['layers'], 'an object with layers');
for my $l (0, 1) {
    my $layer = $got->{layers}[$l];
    is_deeply([sort keys %$layer], [qw(log2phy logcnt lower_bound max_over_mean moves phy2log)],
              "layer $l: the members");
    is_deeply($layer->{phy2log}, $published[$l], "layer $l: eplb as published");
    is_near($layer->{max_over_mean}, max_over_mean($loads[$l], $published[$l], 8), 1e-12,
            "layer $l: max over mean");
}
is_deeply($got->{layers}[0]{logcnt}, [1, 2, 1, 1, 2, 2, 1, 1, 1, 1, 2, 1], 'logcnt');
is_deeply($got->{layers}[0]{log2phy}, [[12, -1], [15, 13], [11, -1], [6, -1], [7, 5], [0, 2], [1, -1],
          [3, -1], [4, -1], [9, -1], [8, 10], [14, -1]], 'log2phy, padded with -1');
is($got->{layers}[0]{moves}, 0, 'without a previous placement nothing moves');

$got = json_of(@words);
for my $l (0, 1) {
    my $layer = $got->{layers}[$l];
    my $ratio = max_over_mean($loads[$l], $layer->{phy2log}, 8);
    is_near($layer->{max_over_mean}, $ratio, 1e-12, "layer $l: ours, max over mean");
    ok($layer->{lower_bound} <= $ratio + 1e-9 && $layer->{lower_bound} >= 1, "layer $l: a bound");
    ok($ratio <= max_over_mean($loads[$l], $published[$l], 8) + 1e-9, "layer $l: not above eplb");
}

# A previous placement: as CSV, and as our own answer.
my $before = csv('previous.csv', @published);
$got = json_of(@words, '--previous', $before);
is($got->{layers}[$_]{moves}, moves($published[$_], $got->{layers}[$_]{phy2log}, 8), "moves of layer $_")
    for 0, 1;
my $answer = write_file('answer.json', (run(@words, '--json'))[1]);
$got = json_of(@words, '--previous', $answer);
is($got->{layers}[$_]{moves}, 0, "layer $_: the same loads, and nothing moves") for 0, 1;

# History: Holt's smoothing by its formula.
my $newer = csv('newer.csv', map { [map { $_ + 10 } @$_] } @loads);
my $newest = csv('newest.csv', map { [map { $_ + 40 } @$_] } @loads);
my ($average, $trend) = (0.4, 0.3);
my @expected = map { [map {
    my ($level, $slope) = ($_, 0);
    for my $x ($_ + 10, $_ + 40) {
        my $last = $level;
        $level = $average * $x + (1 - $average) * ($level + $slope);
        $slope = $trend * ($level - $last) + (1 - $trend) * $slope;
    }
    $level + $slope;
} @$_] } @loads;
$got = json_of('balance', '--loads', $file, '--loads', $newer, '--loads', $newest, @sizes,
               '--average', $average, '--trend', $trend);
is_near($got->{layers}[$_]{max_over_mean}, max_over_mean($expected[$_], $got->{layers}[$_]{phy2log}, 8),
        1e-9, "layer $_: the loads that are expected") for 0, 1;

# A batch: all of its tokens are dealt, better than evenly or as well.
$got = json_of(@words, '--batch', $newer);
for my $l (0, 1) {
    my $layer = $got->{layers}[$l];
    my @sum = (0) x 12;
    $sum[$layer->{phy2log}[$_]] += $layer->{quota}[$_] for 0 .. 15;
    is_deeply(\@sum, [map { $_ + 10 } @{ $loads[$l] }], "layer $l: every token is dealt");
    ok($layer->{batch_split} <= $layer->{batch_even} + 1e-9, "layer $l: no worse than evenly");
}

# Devices that differ.
my $one = csv('one.csv', [8, 8, 8, 8, 4, 4, 4, 4]);
$got = json_of('balance', '--loads', $one, '--slots', '6,3,3', '--speeds', '2,1,1');
is(scalar @{ $got->{layers}[0]{phy2log} }, 12, 'slots say how many replicas there are');
is_near($got->{layers}[0]{max_over_mean}, 1, 0.01, 'a device of twice the speed has twice the load');

# Text.
my ($status, $out) = run(@words, '--plugin', 'eplb');
like($out, qr{^balance/eplb: 2 layers of 12 experts, 16 slots on 8 devices in 2 nodes, groups stay on nodes$}m,
     'the head');
like($out, qr/^ +0 +2\.0833 +1\.2081 +1\.\d{4} +0 +2 +0$/m, 'a line a layer: before and after');
($status, $out) = run(@words, '--compare', '--batch', $newer);
like($out, qr/^$_ +\d\.\d{4}/m, "--compare: $_") for qw(eplb static vishwamai);
like((run('balance', '--loads', $one, '--slots', '6,3,3', '--compare'))[1],
     qr{^eplb +left out: balance/eplb gives every device the same number of slots}m,
     '--compare tells why one takes no part');
$got = json_of(@words, '--compare');
is_deeply([map { $_->{plugin} } @{ $got->{plugins} }], [qw(eplb static vishwamai)], '--compare --json');

# What is wrong is told in a sentence.
fails(2, qr/^vishwamai: --loads FILE is needed \(see/, 'balance', '--devices', 8);
fails(2, qr/^vishwamai: --devices P is needed \(see/, 'balance', '--loads', $file);
fails(2, qr/^vishwamai: --compare takes all plugins: leave --svg out/, @words, '--compare', '--svg', 'x');
fails(1, qr/^vishwamai: 17 replicas do not divide among 8 devices; the next number that does is 24\n\z/,
      'balance', '--loads', $file, '--replicas', 17, '--devices', 8);
fails(1, qr/^vishwamai: 8 replicas cannot hold 12 experts; at least 12 replicas are needed\n\z/,
      'balance', '--loads', $file, '--replicas', 8, '--devices', 8);
fails(1, qr/^vishwamai: 12 experts do not divide into 5 groups; the number of groups must be a divisor/,
      'balance', '--loads', $file, '--replicas', 16, '--devices', 8, '--groups', 5);
fails(1, qr/^vishwamai: 8 devices do not divide among 3 nodes; the next number that does is 9\n\z/,
      'balance', '--loads', $file, '--replicas', 16, '--devices', 8, '--nodes', 3);
fails(1, qr{^vishwamai: /nowhere: cannot be opened}, 'balance', '--loads', '/nowhere', '--devices', 1);
fails(1, qr/bad\.csv:2: column 2: 'x' is not a number; numbers with commas between them are expected, and no header\n\z/,
      'balance', '--loads', write_file('bad.csv', "1,2\n3,x\n"), '--devices', 1);
fails(1, qr/bad\.csv:3: 3 columns, and the first row has 2; all rows must be of one length\n\z/,
      'balance', '--loads', write_file('bad.csv', "1,2\n\n3,4,5\n"), '--devices', 1);
fails(1, qr/bad\.csv:1: column 3: '' is not a number; numbers with commas between them are expected, and no header\n\z/,
      'balance', '--loads', write_file('bad.csv', "1,2,\n3,4,\n"), '--devices', 1);
fails(1, qr/bad\.csv: there is no row of numbers in it\n\z/,
      'balance', '--loads', write_file('bad.csv', "\n"), '--devices', 1);
fails(1, qr/bad\.csv: a zero byte; text is expected\n\z/,
      'balance', '--loads', write_file('bad.csv', "1,2\0\n"), '--devices', 1);
fails(1, qr/bad\.csv: a zero byte; text is expected\n\z/, @words, '--previous',
      write_file('bad.csv', join(',', (0) x 16) . "\n" . join(',', (0) x 16) . "\n\0"));
for my $load ('-1', 'nan', 'inf') {
    fails(1, qr/bad\.csv: layer 0, expert 1: a load of -?\w+; loads must be finite and not negative\n\z/,
          'balance', '--loads', write_file('bad.csv', "1,$load\n"), '--devices', 1);
}
fails(1, qr/one\.csv: 1 rows of 8, and \S+loads\.csv has 2 rows of 12; all steps must be of one size\n\z/,
      'balance', '--loads', $file, '--loads', $one, '--devices', 8);
fails(1, qr/loads\.csv: 2 rows of 12; 2 layers of 16 slots are expected\n\z/, @words, '--previous', $file);
fails(1, qr/bad\.csv: layer 0, column 1: 12 is no expert; whole numbers from 0 to 11 are\n\z/, @words,
      '--previous', csv('bad.csv', [0, 12, (0) x 14], [(0) x 16]));
fails(1, qr/bad\.json: it has no "layers" with a placement\n\z/, @words, '--previous',
      write_file('bad.json', '{"x":1}'));
fails(1, qr/bad\.json: layer 1: no "phy2log" of as many slots as in the first layer\n\z/, @words,
      '--previous', write_file('bad.json', '{"layers":[{"phy2log":[0,1]},{"phy2log":[0]}]}'));
fails(1, qr/bad\.json: layer 0, slot 1: not a whole number\n\z/, @words,
      '--previous', write_file('bad.json', '{"layers":[{"phy2log":[0,"x"]}]}'));
fails(1, qr/bad\.csv: layer 0, column 0: 1.5 is no number of tokens; whole numbers from 0/, @words,
      '--batch', csv('bad.csv', [1.5, (0) x 11], [(0) x 12]));
fails(2, qr/^vishwamai: --speeds: 2 numbers; one for each of 8 devices is expected\n\z/, @words,
      '--speeds', '1,2');
fails(2, qr/^vishwamai: --slots: device 1: 2\.5 is no number of slots; a whole number from 1 is expected\n\z/,
      'balance', '--loads', $one, '--slots', '6,2.5');
fails(1, qr/^vishwamai: .*\bnone\b/, @words, '--plugin', 'none');
fails(1, qr{^vishwamai: /nowhere/x\.svg: cannot be written: No such file or directory\n\z},
      @words, '--svg', '/nowhere/x.svg');

# The drawing: every word lies on the paper, and it can be rendered.
my $svg = "$scratch/drawing.svg";
is((run(@words, '--svg', $svg))[0], 0, '--svg');
my $text = read_file($svg);
my ($width, $height) = $text =~ /^<svg [^>]*width="([\d.]+)" height="([\d.]+)"/;
my ($n, @off) = (0);
while ($text =~ m{<text x="([\d.]+)" y="([\d.]+)" font-size="([\d.]+)"( text-anchor="(\w+)")? [^>]*>([^<]*)<}g) {
    my ($x, $y, $size, $anchor, $words) = ($1, $2, $3, $5 // 'start', $6);
    my $long = 0.65 * $size * length $words;
    my $left = $anchor eq 'start' ? $x : $anchor eq 'end' ? $x - $long : $x - $long / 2;
    push @off, $words if $left < 0 || $left + $long > $width || $y > $height || $y - $size < 0;
    $n++;
}
ok($n > 20, "the drawing has $n words");
is("@off", '', 'all of them lie on the paper');
is(() = $text =~ /<title>device /g, 2 * 2 * 8, 'two bars for each device of each layer');
SKIP: {
    my ($tool) = grep { system("command -v $_ >/dev/null 2>&1") == 0 } qw(rsvg-convert magick convert);
    skip 'neither librsvg nor ImageMagick is here to render it', 2 if !$tool;
    my $png = "$scratch/drawing.png";
    is(system($tool eq 'rsvg-convert' ? "rsvg-convert -o $png $svg" : "$tool $svg $png"), 0,
       "$tool renders it");
    my ($w, $h) = unpack 'N2', substr read_file($png), 16, 8;
    is("$w $h", sprintf('%d %d', $width, $height), 'in its size');
}
done_testing;
