#!/usr/bin/perl
# cli-convert.t - `vishwamai convert`: what it writes opens, computes what it should, and is laid out
# as it says; what fails leaves nothing.
use strict;
use warnings;
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use JSON::PP;
use Test::More;

needs('tokenizer/sentencepiece');

my $bundled = "$top/etc/models/tiny-vishwamai";
my @text = ('-f', "$top/t/data/frankenstein.val.txt", '--ctx', 256, '--chunks', 8);

# The header of a safetensors file: its entries, and where its data begins.
sub header {
    my ($path) = @_;
    my $bytes = read_file($path);
    my $n = unpack 'Q<', $bytes;
    return (JSON::PP->new->utf8->decode(substr $bytes, 8, $n), 8 + $n);
}

sub config_of { JSON::PP->new->utf8->decode(read_file("$_[0]/config.json")) }

sub convert {
    my ($from, $name, @words) = @_;
    my $report = json_of('convert', '-m', $from, '-o', "$scratch/$name", @words) or return {};
    my %class;
    $class{$_->{name}} = $_ for @{ $report->{tensors} };
    return \%class;
}

sub perplexity { json_of('perplexity', '-m', $_[0], @text)->{perplexity} }

# ---- what lies turned, with scales that belong to it ---------------------------------------------
my $pickles = "$top/t/data/goldens/grok-original";
sub last_logits { (json_of('logits', '-m', $_[0], '--tokens', '5 9 17 20') // {logits => [[]]})->{logits}[-1] }
my $was = last_logits($pickles);
for my $form ('keep', 'f32') {
    convert($pickles, "grok-$form", $form eq 'keep' ? () : ('--quant', $form));
    my $is = last_logits("$scratch/grok-$form");
    is(scalar(grep { abs($is->[$_] - $was->[$_]) > 1e-4 } 0 .. $#$was), 0, "grok-$form: the same logits");
}

# ---- each form: bounds ----------------------------------------------------------------------------
# An error that is spread evenly over a step d has the deviation d / sqrt(12).  Rows and blocks of
# normal values reach about 4 deviations, of trained ones 7: int8 0.9 % and 1.6 %, int4 in groups of 32 (2.1 deviations, 15 steps)
# 8 %; e4m3 keeps four bits: 2^-4 / sqrt(12) x the mean over a binade = 2.6 %.  The loss follows the
# square of it, and these models have layers enough to add some: a tenth of it, in perplexity.
my %forms = (
    'int8-rows' => [0.012, 0.005], 'int8-blocks' => [0.018, 0.005], 'fp8-blocks' => [0.03, 0.02],
    'int4-groups' => [0.11, 0.04]);
my %bits = ('int8-rows' => 8, 'int8-blocks' => 8, 'fp8-blocks' => 8, 'int4-groups' => 4.5);
for my $source ($model, $bundled) {
    (my $name = $source) =~ s{.*/}{};
    my $before = perplexity($source);
    for my $form (sort keys %forms) {
        my ($most, $moves) = @{ $forms{$form} };
        my $out = "$name-$form";
        my $class = convert($source, $out, '--quant', $form);
        my @done = grep { $_->{action} eq 'converted' } values %$class;
        is(scalar(grep { $_->{name} !~ /proj\.weight$/ } @done), 0, "$out: matrices of products alone");
        is(scalar(grep { $_->{relative_error} > $most || !$_->{relative_error} } @done), 0,
            "$out: no class is off by more than $most");
        is(scalar(grep { $_->{bytes_after} * 16 > $_->{bytes_before} * $bits{$form} * 1.1 } @done), 0,
            "$out: and each takes $bits{$form} bits and a little");
        is_near(perplexity("$scratch/$out"), $before, $moves, "$out: perplexity");
    }
}
is($_->{why}, 'a router', 'a router stays') for convert($bundled, 'r', '--quant', 'int8-rows')
    ->{'model.layers.*.mlp.gate.weight'};

# ---- exact dequantisation: f32 of a quantised folder computes the same logits -------------------------
for my $form (sort keys %forms) {
    my $from = "$scratch/tiny-gemma-$form";
    my $class = convert($from, "wide-$form", '--quant', 'f32');
    is($class->{'model.layers.*.mlp.down_proj.weight'}{relative_error}, 0, "$form to f32: exact");
    my @words = ('--tokens', '2 17 430 99', '--set', 'gemm.plugin=ref');
    is_deeply(json_of('logits', '-m', "$scratch/wide-$form", @words)->{logits},
        json_of('logits', '-m', $from, @words)->{logits}, "$form and its f32: the same logits, to the bit");
}
ok(!exists config_of("$scratch/wide-fp8-blocks")->{quantization_config}, 'config.json says no more of it');

# ---- what other programs are told ------------------------------------------------------------------
my $q = config_of("$scratch/tiny-gemma-fp8-blocks")->{quantization_config};
is_deeply([@$q{qw(quant_method fmt weight_block_size)}], ['fp8', 'e4m3', [128, 128]], 'fp8, as DeepSeek-V3');
my ($entries) = header("$scratch/tiny-gemma-fp8-blocks/model.safetensors");
my $up = $entries->{'model.layers.0.mlp.up_proj.weight_scale_inv'};
is_deeply([$up->{dtype}, @{ $up->{shape} }], ['F32', 5, 2], '576 x 144: 5 x 2 scales, of partial blocks too');
$q = config_of("$scratch/tiny-gemma-int4-groups")->{quantization_config};
is_deeply([$q->{format}, @{ $q->{config_groups}{group_0}{weights} }{qw(num_bits group_size strategy)}],
    ['pack-quantized', 4, 32, 'group'], 'int4, as compressed-tensors');
($entries) = header("$scratch/tiny-gemma-int4-groups/model.safetensors");
is_deeply([map { my $e = $entries->{"model.layers.0.mlp.up_proj.weight_$_"}; ($e->{dtype}, @{ $e->{shape} }) }
    qw(packed scale shape)], ['I32', 576, 18, 'BF16', 576, 5, 'I64', 2], 'its three tensors');
$q = config_of("$scratch/tiny-vishwamai-int8-rows")->{quantization_config};
is(scalar(grep { $_ eq 'model.layers.0.mlp.gate' } @{ $q->{ignore} }), 1, 'modules that stayed are listed');

# ---- shards, scales in another shard, regions of experts ---------------------------------------------
convert($bundled, 'shards', '--quant', 'fp8-blocks', '--shard-size', '300K');
my $index = JSON::PP->new->utf8->decode(read_file("$scratch/shards/model.safetensors.index.json"));
my %at;
for my $file (glob "$scratch/shards/*.safetensors") {
    my ($e) = header($file);
    for my $name (keys %$e) {
        next if $name eq '__metadata__';
        $at{$name} = [$file, @{ $e->{$name}{data_offsets} }];
        is($index->{weight_map}{$name}, $file =~ s{.*/}{}r, "$name is where the index says")
            if $name =~ /layers\.0\.mlp\.experts\.0\./;
    }
    cmp_ok(-s $file, '<', 900 << 10, 'a shard has about its size') if $file !~ /00001-of/;
}
is(perplexity("$scratch/shards"), perplexity("$scratch/tiny-vishwamai-fp8-blocks"), 'shards compute the same');
my $scattered = 0;
for my $e (0 .. 7) {
    my $p = "model.layers.2.mlp.experts.$e";
    my @region = map { ("$p.$_\_proj.weight", "$p.$_\_proj.weight_scale_inv") } qw(gate up down);
    for my $i (1 .. $#region) {
        my ($before, $now) = @at{ @region[$i - 1, $i] };
        $scattered++ if $before->[0] ne $now->[0] || $before->[2] != $now->[1];
    }
}
is($scattered, 0, 'the tensors of an expert lie in one stretch of one file');
my ($one, $data) = header("$scratch/tiny-vishwamai-int8-rows/model.safetensors");
is($data % 4096, 0, 'data begins with a page');
my $end = (map { $one->{"model.layers.3.mlp.experts.4.down_proj.weight$_"}{data_offsets}[1] } '_scale')[0];
is($one->{'model.layers.3.mlp.experts.5.gate_proj.weight'}{data_offsets}[0], $end, 'experts one after another');

# A family that reads quantization_config itself knows all of them, and what runs as it lies is what
# its values are.
for my $form (sort keys %forms) {
    convert("$top/t/data/goldens/deepseek-f32", "deepseek-$form", '--quant', $form);
    convert("$scratch/deepseek-$form", "deepseek-$form-f32", '--quant', 'f32');
    my ($lies, $values) = map { last_logits("$scratch/deepseek-$form$_") } '', '-f32';
    is(scalar(grep { abs($lies->[$_] - $values->[$_]) > 1e-4 } 0 .. $#$lies), 0, "DeepSeek, $form");
}

# The same tensors, every scale in a second shard.
{
    mkdir "$scratch/apart";
    my $from = "$scratch/tiny-gemma-fp8-blocks";
    my ($e, $begin) = header("$from/model.safetensors");
    my $bytes = read_file("$from/model.safetensors");
    my %map;
    for my $file ('a', 'b') {
        my ($at, $body, %out) = (0, '');
        for my $name (sort grep { $_ ne '__metadata__' && ($file eq 'b') == /_scale_inv$/ } keys %$e) {
            my ($first, $last) = @{ $e->{$name}{data_offsets} };
            $body .= substr $bytes, $begin + $first, $last - $first;
            $out{$name} = { %{ $e->{$name} }, data_offsets => [$at, $at + $last - $first] };
            $at += $last - $first;
            $map{$name} = "$file.safetensors";
        }
        my $text = JSON::PP->new->utf8->encode(\%out);
        write_file("apart/$file.safetensors", pack('Q<', length $text) . $text . $body);
    }
    write_file('apart/model.safetensors.index.json', JSON::PP->new->utf8->encode({ weight_map => \%map }));
    write_file("apart/$_", read_file("$from/$_")) for qw(config.json tokenizer.model);
    is(perplexity("$scratch/apart"), perplexity($from), 'scales in another shard are found');
    convert("$scratch/apart", 'joined');
    is_deeply((header("$scratch/joined/model.safetensors"))[0], $e, 'and one file of the two is the old one');
}

# ---- copies, patterns ---------------------------------------------------------------------------------
convert($model, 'copy');
is(read_file("$scratch/copy/$_"), read_file("$model/$_"), "$_ travels") for qw(tokenizer.model tokenizer.json);
convert("$scratch/copy", 'wide', '--quant', 'f32');
convert("$scratch/wide", 'back', '--quant', 'bf16');
is(read_file("$scratch/back/model.safetensors"), read_file("$scratch/copy/model.safetensors"),
    'bf16 to f32 to bf16: the same file');
is(config_of("$scratch/wide")->{torch_dtype}, 'float32', 'config.json names the dtype');
my $some = convert($model, 'some', '--quant', 'int8-rows', '--include', '*embed*', '--include', '*.0.*proj*',
    '--exclude', '*k_proj*');
is($some->{'model.embed_tokens.weight'}{action}, 'converted', '--include: the embedding too');
my ($some_entries) = header("$scratch/some/model.safetensors");
is(join(' ', sort grep { $some_entries->{$_}{dtype} eq 'I8' } grep { $_ ne '__metadata__' } keys %$some_entries),
    join(' ', 'model.embed_tokens.weight', map { "model.layers.0.$_\_proj.weight" }
        qw(mlp.down mlp.gate mlp.up self_attn.o self_attn.q self_attn.v)), 'these, but for what is excluded');
ok(perplexity("$scratch/some"), 'a mixed folder runs');
like((run('convert', '-m', $model, '-o', "$scratch/people", '--quant', 'int4-groups', '--group-size', 16))[1],
    qr/5  model\.layers\.\*\.mlp\.up_proj\.weight +bf16 +int4-groups +0\.79 +0\.2\d +0\.0\d+\n.* MiB are now /s,
    'a report for people');

# ---- GGUF, both ways --------------------------------------------------------------------------------------
# Norms are stored as 1 + w there, in f32: half a unit of 1 is the most that is lost.
sub tensors {
    my ($folder) = @_;
    my ($e, $begin) = header("$folder/model.safetensors");
    my $bytes = read_file("$folder/model.safetensors");
    delete $e->{__metadata__};
    return { map { my ($a, $b) = @{ $e->{$_}{data_offsets} }; $_ => substr $bytes, $begin + $a, $b - $a } keys %$e };
}

sub furthest {
    my ($a, $b) = @_;
    my $most = 0;
    for my $row (0 .. $#$a) {
        for my $i (0 .. $#{ $a->[$row] }) {
            my $d = abs($a->[$row][$i] - $b->[$row][$i]);
            $most = $d if $d > $most;
        }
    }
    return $most;
}

my @few = ('--tokens', '2 17 430 99 512');
my $logits = json_of('logits', '-m', $model, @few)->{logits};
my $before = perplexity($model);
{
    my $class = convert($model, 'g.gguf');
    is($class->{'model.layers.*.mlp.up_proj.weight'}{action}, 'copied', 'a folder becomes a GGUF file');
    cmp_ok(furthest(json_of('logits', '-m', "$scratch/g.gguf", @few)->{logits}, $logits), '<', 2e-4,
        'which computes the same logits');
    SKIP: {
        skip 'tokenizer/gguf is not built', 2 if !is_there('tokenizer/gguf');
        my @say = ('-p', 'O Romeo, Romeo! wherefore 1597');
        is_deeply(json_of('tokenize', '-m', "$scratch/g.gguf", @say, '--bos'),
            json_of('tokenize', '-m', $model, @say, '--bos'), 'and has the vocabulary');
        for my $case (['q8_0', 0.005], ['q4_0', 0.05]) {
            my ($form, $moves) = @$case;
            my $done = convert($model, "$form.gguf", '--quant', $form);
            is($done->{'model.layers.*.mlp.down_proj.weight'}{to}, $form, "$form: where rows are whole blocks");
            is($done->{'model.layers.*.mlp.up_proj.weight'}{why}, 'rows are no whole blocks', 'and not where not');
            is_near(perplexity("$scratch/$form.gguf"), $before, $moves, "$form: perplexity");
        }
    }
    convert("$scratch/wide", 'wide.gguf');
    convert("$scratch/wide.gguf", 'unwound');
    my ($was, $is) = (tensors("$scratch/wide"), tensors("$scratch/unwound"));
    is_deeply([sort keys %$is], [sort keys %$was], 'to GGUF and back: the same names');
    is(scalar(grep { !/norm/ && $is->{$_} ne $was->{$_} } keys %$was), 0, 'every matrix to the bit');
    my $off = 0;
    for my $name (grep { /norm/ } keys %$was) {
        my @a = unpack 'f<*', $was->{$name};
        my @b = unpack 'f<*', $is->{$name};
        $off++ for grep { abs($a[$_] - $b[$_]) > 2**-23 } 0 .. $#a;
    }
    is($off, 0, 'and norms but for what 1 + w rounds');
    cmp_ok(furthest(json_of('logits', '-m', "$scratch/unwound", @few)->{logits}, $logits), '<', 2e-4,
        'its config.json is the model');
}
SKIP: {
    skip 'tokenizer/gguf is not built', 1 if !is_there('tokenizer/gguf');
    for my $style (qw(deepseek gpt2 llama3)) {
        mkdir "$scratch/$style";
        symlink "$model/$_", "$scratch/$style/$_" for 'config.json', 'model.safetensors';
        symlink "$top/t/data/tokenizers/$style/tokenizer.json", "$scratch/$style/tokenizer.json";
        convert("$scratch/$style", "$style.gguf");
        for my $text ("O Romeo, Romeo! wherefore 1597\n\n  it's", 'na\x{EF}ve \x{65E5}\x{672C} 12345') {
            utf8::encode(my $bytes = $text);
            my ($a, $b) = map { json_of('tokenize', '-m', $_, '-p', $bytes, '--bos') } "$scratch/$style", "$scratch/$style.gguf";
            is_deeply($b, $a, "$style: a tokenizer.json travels in the GGUF file");
        }
        my $last = config_of($model)->{vocab_size} - 1;
        cmp_ok(index(read_file("$scratch/$style.gguf"), "[PAD$last]"), '>', 0, 'a text for every row of the embedding');
    }
    mkdir "$scratch/qwen";
    symlink "$model/$_", "$scratch/qwen/$_" for 'config.json', 'model.safetensors';
    symlink "$top/t/data/tokenizers/qwen/tokenizer.json", "$scratch/qwen/tokenizer.json";
    my (undef, undef, $told) = run('convert', '-m', "$scratch/qwen", '-o', "$scratch/qwen.gguf");
    like($told, qr/the GGUF file gets no vocabulary: .*GGUF has no name for this way of normalising/,
        'one that GGUF has no name for does not');
    mkdir "$scratch/letters";
    symlink "$model/$_", "$scratch/letters/$_" for 'config.json', 'model.safetensors';
    my $turned = JSON::PP->new->utf8->decode(read_file("$top/t/data/tokenizers/deepseek/tokenizer.json"));
    my $steps = $turned->{pre_tokenizer}{pretokenizers};
    unshift @$steps, pop @$steps;
    write_file('letters/tokenizer.json', JSON::PP->new->utf8->encode($turned));
    (undef, undef, $told) = run('convert', '-m', "$scratch/letters", '-o', "$scratch/letters.gguf");
    like($told, qr/the GGUF file gets no vocabulary: .*GGUF has no name/, 'nor one that splits letters for bytes');
}
for my $name (qw(gemma-f gemma2-mixed gemma3-mixed)) {
    my $from = "$top/t/data/gguf/$name.gguf";
    convert($from, "$name-folder");
    my @ids = ('--tokens', '2 17 43 9 51 60 61 62 63 64 65 66 67 68');
    my $a = json_of('logits', '-m', $from, @ids)->{logits};
    cmp_ok(furthest($a, json_of('logits', '-m', "$scratch/$name-folder", @ids)->{logits}), '<', 5e-4,
        "$name as a folder: the same logits");
}

# A DeepSeek: experts in one tensor, what the latent becomes by heads; there, and back to the bit.
my @ids = ('--tokens', '0 17 43 9 51 60 41 22 33 14 55 26 37 38');
for my $name (qw(deepseek-split deepseek-whole)) {
    convert("$top/t/data/gguf/$name.gguf", $name);
    convert("$scratch/$name", "$name.gguf");
    my $a = json_of('logits', '-m', "$top/t/data/gguf/$name.gguf", @ids)->{logits};
    cmp_ok(furthest($a, json_of('logits', '-m', "$scratch/$_", @ids)->{logits}), '<', 2e-4,
        "$name, $_: the same logits") for $name, "$name.gguf";
}
for my $case (['deepseek-f32', 1], ['deepseek-mtp', 1], ['deepseek-v2', 0]) {
    my ($name, $is_exact) = @$case;
    my $from = "$top/t/data/goldens/$name";
    convert($from, "$name.gguf");
    convert("$scratch/$name.gguf", "$name-back");
    my $a = json_of('logits', '-m', $from, @ids)->{logits};
    cmp_ok(furthest($a, json_of('logits', '-m', "$scratch/$_", @ids)->{logits}), '<', 2e-4,
        "$_: the same logits") for "$name.gguf", "$name-back";
    my ($was, $is) = (tensors($from), tensors("$scratch/$name-back"));
    delete $was->{$_} for grep { /layers\.2\./ && $name eq 'deepseek-mtp' } keys %$was;
    is_deeply([sort keys %$is], [sort keys %$was], "$name: to GGUF and back: the same names");
    is(scalar(grep { $is->{$_} ne $was->{$_} } keys %$was), 0, 'all to the bit') if $is_exact;
}
{
    my $done = convert("$scratch/deepseek-split", 'ds-q8_0.gguf', '--quant', 'q8_0');
    is($done->{"model.layers.*.$_.weight"}{to}, 'q8_0', "$_ has whole blocks")
        for 'self_attn.kv_b_proj', 'mlp.experts.*.down_proj';
    is($done->{'model.layers.*.mlp.gate.weight'}{to}, 'f32', 'routers stay f32');
    my $q8 = convert("$scratch/ds-q8_0.gguf", 'ds-int8', '--quant', 'int8-rows');
    is($q8->{'blk.*.attn_k_b.weight'}{to}, 'f32', 'heads that are joined are not quantised');
    is($q8->{'blk.*.attn_k_b.weight'}{why}, 'joined from several', 'and it says why');
    is($q8->{'blk.*.ffn_up_exps.weight'}{to}, 'int8-rows', 'experts are');
    my ($a, $b) = map { json_of('logits', '-m', "$scratch/$_", @ids)->{logits}[0] } 'ds-q8_0.gguf', 'ds-int8';
    cmp_ok(furthest([$a], [$b]), '<', 0.2, 'and mean about the same');
}
fails(1, qr/model\/deepseek: a GGUF file of "deepseek2" cannot say an mscale that is not mscale_all_dim/, 'convert', '-m',
    "$top/t/data/goldens/deepseek-bf16", '-o', "$scratch/x.gguf");

# ---- what fails -----------------------------------------------------------------------------------------
fails(2, qr/^vishwamai: --quant int3: expected f32, bf16, f16, int8-rows/, 'convert', '-m', $model, '-o',
    "$scratch/x", '--quant', 'int3');
fails(2, qr/^vishwamai: -o DIR is needed/, 'convert', '-m', $model);
fails(2, qr/^vishwamai: --include, --exclude and --group-size say what --quant FORM does, which is not given/,
      'convert', '-m', $model, '-o', "$scratch/x", '--include', '*');
fails(2, qr/^vishwamai: --shard-size 5X: expected bytes, as 500M or 5G/, 'convert', '-o', "$scratch/x",
    '--shard-size', '5X');
fails(1, qr/^vishwamai: .*copy: not empty; a folder that is not there yet is expected/, 'convert', '-m', $model, '-o',
    "$scratch/copy");
write_file('file', '');
fails(1, qr/^vishwamai: .*file: Not a directory; a folder/, 'convert', '-m', $model, '-o', "$scratch/file");
fails(1, qr/^vishwamai: cannot make the folder .*none\/x\.\d+\.tmp: No such file/, 'convert', '-m', $model, '-o',
    "$scratch/none/x");
{
    mkdir "$scratch/nan";
    my $bytes = read_file("$model/model.safetensors");
    my ($e, $begin) = header("$model/model.safetensors");
    substr($bytes, $begin + $e->{'model.layers.1.mlp.up_proj.weight'}{data_offsets}[0], 2) = "\xC0\x7F";
    write_file('nan/model.safetensors', $bytes);
    write_file("nan/$_", read_file("$model/$_")) for qw(config.json tokenizer.model);
    fails(1, qr/tensor "model\.layers\.1\.mlp\.up_proj\.weight" has values that are not finite; int8-rows has no/,
        'convert', '-m', "$scratch/nan", '-o', "$scratch/x", '--quant', 'int8-rows');
    substr($bytes, $begin + $e->{'model.layers.1.mlp.up_proj.weight'}{data_offsets}[0], 2) = "\x00\x60";
    write_file('nan/model.safetensors', $bytes);
    fails(1, qr/up_proj\.weight" has values that are too large for f16/, 'convert', '-m', "$scratch/nan", '-o',
        "$scratch/x", '--quant', 'f16');
}
{
    mkdir "$scratch/four";
    my $good = read_file("$scratch/tiny-gemma-int4-groups/model.safetensors");
    my ($e, $begin) = header("$scratch/tiny-gemma-int4-groups/model.safetensors");
    my $up = 'model.layers.1.mlp.up_proj.weight';
    my $at = $begin + $e->{"$up\_shape"}{data_offsets}[0];
    write_file('four/config.json', read_file("$scratch/tiny-gemma-int4-groups/config.json"));
    for my $case (
        [qr/_shape" says \[577, 144\]; config.json makes it \[576, 144\]/, sub { substr($_[0], $at, 1) = "\x41" }],
        [qr/_packed" is uint32 \[576, 18\]; config.json and four bits a value make it int32 \[576, 18\]/,
            sub { $_[0] =~ s/("$up\_packed":\{"dtype":)"I32"/$1"U32"/ }],
        [qr/tensor "$up" is int4 and needs its scales: .*no tensor "$up\_scale_inv"/,
            sub { $_[0] =~ s/"$up\_scale"/"$up\_scalf"/ }],
        [qr/_scale" is uint16 \[576, 5\]; expected f32, bf16 or f16, one scale, or 576 rows of scales for equal parts of 144/,
            sub { $_[0] =~ s/("$up\_scale":\{"dtype":)"BF16"/$1"U16" /; }]) {
        my ($says, $edit) = @$case;
        my $bytes = $good;
        $edit->($bytes);
        write_file('four/model.safetensors', $bytes);
        fails(1, $says, 'convert', '-m', "$scratch/four", '-o', "$scratch/x");
    }
}
SKIP: {
    skip 'no limit on the size of files here', 1 if system("bash -c 'ulimit -f 2000' 2>/dev/null") != 0;
    my $status = system('bash', '-c', "trap '' XFSZ; ulimit -f 2000; exec vishwamai convert -m '$model' -o "
        . "'$scratch/x' >/dev/null 2>'$scratch/err'");
    is($status >> 8, 1, 'a full disk is an error');
    like(read_file("$scratch/err"), qr/^vishwamai: cannot write .*: File too large/, 'its sentence');
}
fails(1, qr/a GGUF file of "gemma2" cannot say query_pre_attn_scalar/, 'convert', '-m',
    "$top/t/data/goldens/gemma2-odd-f32", '-o', "$scratch/x.gguf");
fails(1, qr/between a folder and a GGUF file, model\/vishwamai/, 'convert', '-m', $bundled, '-o', "$scratch/x.gguf");
fails(1, qr/a GGUF file is written from a folder; .*g\.gguf is one already/, 'convert', '-m', "$scratch/g.gguf", '-o',
    "$scratch/x.gguf");
fails(1, qr/g\.gguf is there already/, 'convert', '-m', $model, '-o', "$scratch/g.gguf");
fails(1, qr/a GGUF file is written in one part; leave --shard-size out/, 'convert', '-m', $model, '-o',
    "$scratch/x.gguf", '--shard-size', '1M');
fails(2, qr/--quant int8-rows: expected f32, bf16, f16, q8_0 or q4_0 for a GGUF file/, 'convert', '-m', $model,
    '-o', "$scratch/x.gguf", '--quant', 'int8-rows');
is(scalar(grep { m{/x(\.gguf)?(\.\d+)*(\.tmp)?$} } glob "$scratch/*"), 0, 'what failed left nothing');
done_testing;
