#!/usr/bin/perl
# cli-logits.t - `vishwamai logits`: shapes, decoding against prefilling, floats that round-trip.
use strict;
use warnings;
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use JSON::PP ();
use Test::More;

my $case = reference()->{greedy}[0];
my @ids = (@{ $case->{prompt_tokens} }, @{ $case->{new} });
my $vocabulary = 1024;

my $all = json_of('logits', '--tokens', "@ids");
is_deeply([sort keys %$all], [qw(logits tokens)], 'members');
is_deeply($all->{tokens}, \@ids, 'tokens');
is(scalar @{ $all->{logits} }, scalar @ids, 'a row for each position');
is(scalar(grep { @$_ != $vocabulary } @{ $all->{logits} }), 0, 'the full vocabulary in each');

# The best of each row is what greedy generation takes.
my @best = map {
    my $row = $_;
    (sort { $row->[$b] <=> $row->[$a] || $a <=> $b } 0 .. $#$row)[0]
} @{ $all->{logits} };
my $n = @{ $case->{prompt_tokens} };
is_deeply([@best[$n - 1 .. $#best - 1]], $case->{new}, 'the best of each row is the greedy token');

sub largest_difference {
    my ($a, $b) = @_;
    my $most = 0;
    for my $i (0 .. $#$a) {
        for my $k (0 .. $vocabulary - 1) {
            my $d = abs($a->[$i][$k] - $b->[$i][$k]);
            $most = $d if $d > $most;
        }
    }
    return $most;
}

my $decoded = json_of('logits', '--tokens', "@ids", '--decode');
is(scalar @{ $decoded->{logits} }, scalar @ids, '--decode: a row for each position');
cmp_ok(largest_difference($all->{logits}, $decoded->{logits}), '<=', 1e-5 * 20,
       '--decode gives the same within 1e-5 of the largest logits');
my $last = json_of('logits', '--tokens', "@ids", '--last');
is(scalar @{ $last->{logits} }, 1, '--last: one row');
cmp_ok(largest_difference($last->{logits}, [$all->{logits}[-1]]), '<=', 1e-4, '--last: the last one');
is(scalar @{ json_of('logits', '--tokens', "@ids", '--last', '--decode')->{logits} }, 1,
   '--last --decode: one row');
SKIP: {
    skip 'tokenizer/sentencepiece is not built', 1 if !is_there('tokenizer/sentencepiece');
    is_deeply(json_of('logits', '-p', $case->{prompt})->{tokens}, $case->{prompt_tokens}, '-p');
}

# Every number is the shortest of 8 or 9 digits that names its float32: what C prints of those bits.
my (undef, $text) = run('logits', '--tokens', '2 681', '--json');
my @numbers = ($text =~ s/.*"logits"//sr) =~ /-?[0-9][-+.0-9e]*/g;
is(scalar @numbers, 2 * $vocabulary, 'two rows of numbers');
my @bad = grep {
    my $value = unpack 'f', pack 'f', $_;
    my $eight = sprintf '%.8g', $value;
    $_ ne (unpack('f', pack 'f', $eight) == $value ? $eight : sprintf '%.9g', $value);
} @numbers;
is("@bad", '', 'every number is printed as the float32 that it is');
# Eight digits are not enough for every float32: a writer of eight would have been found right above.
my @digits = map { s/e.*//r =~ tr/0-9//cdr =~ s/^0+//r } @numbers;
cmp_ok(scalar(grep { length == 9 } @digits), '>', 0, 'with nine digits where they are needed');

my ($status, $out) = run('logits', '--tokens', '2 681 978');
is($status, 0, 'for people');
like($out, qr/^ +2 +978 +966: 11\.38/m, 'the likeliest tokens of a position');
fails(2, qr/^vishwamai: one of --tokens IDS and -p TEXT is needed/, 'logits');
fails(2, qr/^vishwamai: --tokens: at least one token id is needed/, 'logits', '--tokens', '');
fails(1, qr/^vishwamai: token 5000 is not in the vocabulary/, 'logits', '--tokens', '5000');
fails(1, qr/^vishwamai: .*context/, 'logits', '--tokens', '2 ' x 300);
fails(1, qr/^vishwamai: 300 tokens exceed the context of 256 \(--ctx-size\)/, 'logits', '--json',
      '--tokens', '2 ' x 300);

# A batch at a time.
for my $extra ([], ['--last']) {
    my $parts = json_of('logits', '--tokens', "@ids", '--set', 'engine.batch_tokens=4', @$extra);
    my @whole = @$extra ? $all->{logits}[-1] : @{ $all->{logits} };
    is(scalar @{ $parts->{logits} }, scalar @whole, "in batches of four: rows @$extra");
    cmp_ok(largest_difference($parts->{logits}, \@whole), '<=', 2e-4, 'and the same in them');
}

# A checkpoint with latent attention, against the published implementation, token by token.
sub golden_logits {
    my ($folder, $name) = @_;
    open my $f, '<:raw', "$folder/golden.safetensors" or die "$folder: $!";
    my $raw = do { local $/; <$f> };
    my $n = unpack 'Q<', $raw;
    my $t = JSON::PP::decode_json(substr $raw, 8, $n)->{$name};
    my ($begin, $end) = @{ $t->{data_offsets} };
    my @values = unpack 'f<*', substr $raw, 8 + $n + $begin, $end - $begin;
    return [map { [splice @values, 0, $t->{shape}[1]] } 1 .. $t->{shape}[0]];
}

my $folder = ($ENV{top_srcdir} // '.') . '/t/data/goldens/deepseek-fp8';
my $golden = do { open my $f, '<', "$folder/golden.json" or die $!; local $/; JSON::PP::decode_json(<$f>) };
my $prompt = $golden->{prompts}{short};
for my $form (qw(naive absorbed)) {
    my $got = json_of('logits', '-m', $folder, '--tokens', "@{ $prompt->{tokens} }", '--decode', '--set',
                      "model.deepseek.attention=$form", '--set', 'engine.ctx_size=64');
    $vocabulary = @{ $got->{logits}[0] };
    my $apart = largest_difference($got->{logits}, golden_logits($folder, 'short.logits'));
    cmp_ok($apart, '<', 2e-4 * $prompt->{logits_std}, "$form attention on fp8 weights, decoded, as published");
}

done_testing;
