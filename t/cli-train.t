#!/usr/bin/perl
# cli-train.t - `vishwamai train' and `runs': a small model learns, is killed again and again and ends
# with the same bits, speaks, is compared and drawn; and wrong words are told.
#
# VW_KILLS says how often a run is killed with signal 9 at a random moment (4; `make check-kill': 20).
use strict;
use warnings;
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use Encode;
use JSON::PP;
use Test::More;
use Time::HiRes qw(sleep time);

needs('model/vishwamai', 'tokenizer/chars', 'optimizer/adamw', 'weights/safetensors');

my $data = write_file('text.txt', read_file("$top/t/data/frankenstein.val.txt"));
my $text = decode_utf8(read_file($data)); # in characters, which are the tokens
my $ini = write_file('small.ini', <<"END");
[tokenizer]
plugin = chars
[model]
plugin = vishwamai
[model.vishwamai]
num_layers = 2
num_heads = 2
num_kv_heads = 1
hidden_dim = 32
head_dim = 16
mlp_dim = 64
dropout_rate = 0.1
[data]
train = $data
max_length = 32
[train]
batch_size = 4
grad_accum_steps = 2
max_steps = 60
warmup_steps = 5
learning_rate = 5e-3
eval_every = 20
eval_windows = 8
save_every = 5
log_every = 5
[vishwamai]
threads = 2
END

sub lines {
    my ($dir) = @_;
    return map { JSON::PP->new->decode($_) } split /\n/, read_file("$dir/metrics.jsonl");
}

# Start without waiting; standard error goes to a file.
sub start {
    my (@words) = @_;
    unlink "$scratch/err";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDIN, '<', '/dev/null' or die $!;
        open STDOUT, '>', "$scratch/out" or die $!;
        open STDERR, '>', "$scratch/err" or die $!;
        exec 'vishwamai', @words or exit 127;
    }
    return $pid;
}

# ---- a run in one go ------------------------------------------------------------------------------
my $whole = "$scratch/whole";
my ($status, $out, $err) = run('train', '-c', $ini, '-o', $whole, '--json',
                               '--set', 'train.sample_every=60', '--set', 'train.sample_prompt=The ');
is($status, 0, 'train: status 0') or diag($err);
my $result = eval { JSON::PP->new->decode($out) };
is($result->{step}, 60, 'train --json: all steps');
my $learnt = int(0.9 * length $text);
my $kept = length($text) - $learnt;
like($err, qr/^VishwamAI base, 2 layers.*^data: $learnt tokens to learn, $kept to validate; steps of 2 x 4 windows of 32$/ms,
     'train: the plan');
like($err, qr/^memory, MiB: [\d.]+, weights [\d.]+, gradients [\d.]+, moments [\d.]+, activations/m,
     'train: its memory, before it starts');
like($err, qr{^step 60/60  loss [\d.]+  validation [\d.]+  lr [\d.e-]+  norm [\d.]+  \d+ tokens/s  MFU \d+ %$}m,
     'train: a line of numbers');
like($err, qr/^--- sample at step 60\nThe .+\n---$/ms, 'train: a sample of text');
like($err, qr{^saved \Q$whole\E/step-00000060$}m, 'train: what was saved');
my @lines = lines($whole);
my $alphabet = keys %{ { map { $_ => 1 } split //, $text } };
is_near($lines[0]{val_loss}, log($alphabet), 0.05, 'an untrained model guesses among all characters');
ok($lines[-1]{val_loss} < 0.8 * $lines[0]{val_loss}, 'and has learnt something after 60 steps');
ok(!(grep { !defined $_->{step} || $_->{step} && !defined $_->{train_loss} } @lines),
   'every line tells step and training loss');
is_deeply([map { $_->{step} } @lines], [0, map { 5 * $_ } 1 .. 12], 'in their order');

($status, $out) = run('run', '-m', "$whole/latest", '-p', 'The ', '-n', 20);
is($status, 0, 'the checkpoint is a model folder');
my $said = length decode_utf8($out);
ok($said == 20 || $said == 21, 'that speaks in characters') or diag($out);
my $measured = json_of('perplexity', '-m', "$whole/latest", '-f', $data, '--ctx', 32, '--chunks', 50);
ok($measured && $measured->{nll} < 0.85 * $lines[0]{val_loss}, 'and predicts as it was trained');

# ---- in fp8 ---------------------------------------------------------------------------------------
# Dense and with experts, with both ways of scaling: as low as in f32 to within a tenth of what is learnt;
# and a run that stops and goes on gives the same bits.
my %ways = (f32 => ['train.precision=f32'], fp8 => ['train.precision=fp8'],
            delayed => ['train.precision=fp8', 'train.fp8_scaling=delayed']);
sub in_way {
    my ($way, $experts, $dir, @more) = @_;
    return run('train', '-c', $ini, '-o', $dir, map { ('--set', $_) } "model.vishwamai.num_experts=$experts",
               'train.max_steps=40', @{ $ways{$way} }, @more);
}
for my $experts (1, 4) {
    my %last;
    for my $way (sort keys %ways) {
        my $dir = "$scratch/$way-$experts";
        ($status, $out, $err) = in_way($way, $experts, $dir);
        is($status, 0, "experts $experts, $way: status 0") or diag($err);
        my @told = lines($dir);
        @last{ $way, 'first' } = ($told[-1]{val_loss}, $told[0]{val_loss});
    }
    my $learnt = $last{first} - $last{f32};
    ok($learnt > 0.5, "experts $experts: learns in f32, $last{first} to $last{f32}");
    for my $way ('fp8', 'delayed') {
        ok(abs($last{$way} - $last{f32}) < 0.1 * $learnt && $last{$way} != $last{f32},
           "experts $experts: nearly as well in $way, to $last{$way}");
    }
    ok($last{fp8} != $last{delayed}, "experts $experts: the two ways differ");
}
for my $way ('fp8', 'delayed') {
    my $dir = "$scratch/$way-resumed";
    in_way($way, 4, $dir, 'train.save_every=10');
    system 'rm', '-rf', map { "$dir/step-000000$_" } 20, 30, 40;
    ($status, $out, $err) = in_way($way, 4, $dir, 'train.save_every=10');
    is($status, 0, "$way: a run is gone on with") or diag($err);
    like($err, qr/^going on from .*step-00000010/m, "$way: from step 10") or diag($err);
    for my $file ('model.safetensors', 'optimizer.safetensors') {
        ok(read_file("$dir/step-00000040/$file") eq read_file("$scratch/$way-4/step-00000040/$file"),
           "$way: to the same $file as in one go");
    }
}
($status, $out, $err) = in_way('delayed', 4, "$scratch/delayed-4", 'train.fp8_amax_history=8', 'train.max_steps=44');
is($status, 2, 'a history of another length');
like($err, qr/optimizer\.safetensors: "fp8\.amax_history" is not of \d+ magnitudes; was train\.fp8_amax_history another\?/,
     'is refused') or diag($err);
($status, $out, $err) = in_way('delayed', 4, "$scratch/delayed-4", 'train.fp8_margin=0.5', 'train.max_steps=44');
like($err, qr/was made with train\.fp8_margin = 0\.01, now it is 0\.5; go on with what it was/, 'so is another margin');
($status, $out, $err) = in_way('fp8', 4, "$scratch/delayed-4", 'train.max_steps=44');
is($status, 2, 'and another way of scaling') or diag($err);
($status, $out, $err) = in_way('delayed', 4, "$scratch/capacity", 'model.vishwamai.capacity=1.25');
isnt($status, 0, 'experts with a capacity');
like($err, qr/delayed scaling needs experts without a capacity: .*; set train\.fp8_scaling = current, or capacity = 0/,
     'are refused, and what to do is said') or diag($err);

# ---- killed ---------------------------------------------------------------------------------------
my $kills = $ENV{VW_KILLS} // 4;
my $seed = $ENV{VW_SEED} // time ^ $$;
srand $seed;
my $killed = "$scratch/killed";
my ($n, $ended) = (0, 0);
for (1 .. 20 * $kills) {
    last if $n >= $kills;
    my $pid = start('train', '-c', $ini, '-o', $killed);
    # Wait for the plan, so that moments are of training and not of starting.
    for (1 .. 6000) { last if -s "$scratch/err" && read_file("$scratch/err") =~ /^memory/m; sleep 0.005 }
    sleep rand 0.25;
    kill 'KILL', $pid;
    waitpid $pid, 0;
    if (($? & 127) == 9) { $n++ } else { $ended++ }
    # One that came to its end begins anew, so that there is something to kill.
    if ($ended && $n < $kills) { system 'rm', '-rf', $killed; $ended = 0 }
}
is($n, $kills, "killed $kills times (VW_SEED=$seed)");
($status, $out, $err) = run('train', '-c', $ini, '-o', $killed);
is($status, 0, 'the last one comes to the end') or diag($err);
for my $file ('model.safetensors', 'optimizer.safetensors') {
    ok(read_file("$whole/step-00000060/$file") eq read_file("$killed/step-00000060/$file"),
       "$file: the same bits as in one go");
}
sub story { return [map { my %l = %$_; delete @l{qw(seconds tokens_per_second mfu)}; \%l } lines($_[0])] }
is_deeply(story($killed), story($whole), 'metrics.jsonl tells one story');
ok(!glob("$killed/.step-*"), 'and nothing half-written is left');

# ---- stopped --------------------------------------------------------------------------------------
for my $signal ('TERM', 'INT') {
    my $stopped = "$scratch/$signal";
    my $pid = start('train', '-c', $ini, '-o', $stopped, '--set', 'train.save_every=0', '--set',
                    'train.max_steps=100000');
    for (1 .. 6000) { last if -s "$scratch/err" && read_file("$scratch/err") =~ /^step 10\//m; sleep 0.005 }
    kill $signal, $pid;
    waitpid $pid, 0;
    is($? >> 8, 130, "SIG$signal: status 130");
    $err = read_file("$scratch/err");
    like($err, qr{^saved \Q$stopped\E/step-(\d+)\nvishwamai: interrupted after step \d+$}m,
         "SIG$signal: saved, and said");
}

# ---- contradictions -------------------------------------------------------------------------------
fails(2, qr/expert_memory: training keeps every expert in memory; leave it out/, 'train', '-m',
      "$top/etc/models/tiny-vishwamai", '-f', $0, '-o', "$scratch/streamed", '--set', 'model.expert_memory=1M');
fails(2, qr/^VishwamAI|vishwamai: train.out is needed: the folder of the run/, 'train', '-c', $ini);
($status, $out, $err) = run('train', '-c', $ini, '-o', $whole, '--set', 'train.seed=9');
is($status, 2, 'another seed for the same run');
like($err, qr/was made with train\.seed = 1, now it is 9; go on with what it was, or give another train\.out/,
     'and its sentence');
($status, $out, $err) = run('train', '-c', $ini, '-o', $whole, '--set', 'model.vishwamai.num_layers=3',
                            '--set', 'train.max_steps=70');
is($status, 1, 'a model of another size for the same run');
like($err, qr{^vishwamai: .*step-00000060/config\.json is not the configuration of the model that is trained}m, 'is refused') or diag($err);
SKIP: {
    skip('the bundled model does not run here', 2) if !is_there('tokenizer/sentencepiece');
    ($status, $out, $err) = run('train', '-c', $ini, '-o', "$scratch/wide", '-m', "$whole/latest", '--set',
                                'tokenizer.plugin=auto', '--set', "data.tokenizer=$model", '--set', 'data.max_length=16');
    is($status, 1, 'the tokenizer of another model');
    like($err, qr/^vishwamai: the tokenizer in .* has 1024 tokens, the model's vocabulary $alphabet; they do not belong together/m,
         'is of the wrong vocabulary') or diag($err);
}
($status, $out, $err) = run('train', '-c', $ini, '-o', "$scratch/x", '--set', 'train.batch_sise=9');
is($status, 2, 'a key that is none');
like($err, qr/did you mean .*batch_size/, 'and its neighbour');

# A full disk, where this user may mount one.
SKIP: {
    my $small = "$scratch/small";
    mkdir $small;
    my $script = write_file('full.sh', <<"END");
mount -t tmpfs -o size=300k none '$small' || exit 77
vishwamai train -c '$ini' -o '$small/run' --set train.keep=50
status=\$?
vishwamai perplexity -m '$small/run/latest' -f '$data' --ctx 32 --chunks 4 >&2
exit \$status
END
    $status = system("unshare -rm sh $script >$scratch/out 2>$scratch/err") >> 8;
    $err = read_file("$scratch/err");
    skip('no private mount is possible here', 3) if $status == 77 || $err =~ /^unshare: /m || !-s "$scratch/out" && !$err;
    is($status, 1, 'a full disk: status 1');
    like($err, qr/the checkpoint of step \d+ is not saved \(earlier ones in .* are whole\): .*No space left on device/,
         'a full disk: the sentence');
    like($err, qr/^perplexity \d/m, 'a full disk: the checkpoint before is a model') or diag($err);
}

# ---- experts --------------------------------------------------------------------------------------
# Told with each line: the fullest expert's slots over the mean, and how many got nothing.
my $routed = "$scratch/routed";
my @moe = ('--set', 'model.vishwamai.num_experts=4', '--set', 'model.vishwamai.router=sigmoid', '--set',
           'train.router_bias_rate=0.01', '--set', 'train.log_every=4', '--set', 'train.keep=50');
($status, $out, $err) = run('train', '-c', $ini, '-o', $routed, @moe);
is($status, 0, 'a model with experts') or diag($err);
like($err, qr{^step 60/60  loss [\d.]+  validation [\d.]+ .*  load (\d\.\d\d)(?:  \d+ experts idle)?  \d+ tokens/s}m,
     'train: how evenly they are used');
my @told = grep { $_->{step} } lines($routed);
ok(!(grep { $_->{load_imbalance} < 1 || $_->{load_imbalance} > 4 || $_->{idle_experts} != int $_->{idle_experts} } @told),
   'the fullest has between the mean and everything, in every line');
ok(!(grep { exists $_->{load_imbalance} } lines($whole)), 'and nothing is told where there are none');
mkdir "$scratch/routed-twice";
system 'cp', '-r', "$routed/step-00000030", "$scratch/routed-twice";
is((run('train', '-c', $ini, '-o', "$scratch/routed-twice", @moe))[0], 0, 'from a checkpoint between two lines on');
my %again = map { $_->{step} => $_ } lines("$scratch/routed-twice");
my ($same) = grep { $_->{step} == 32 } @told;
is_deeply([@{ $again{32} }{qw(load_imbalance idle_experts train_loss)}],
          [@{$same}{qw(load_imbalance idle_experts train_loss)}], 'the counts of a line outlive a stop');
my $used = json_of('perplexity', '-m', "$routed/latest", '-f', $data, '--ctx', 32, '--chunks', 50);
is(scalar @{ $used->{experts} }, 2, 'perplexity: how a text used the experts, of each layer');
for my $layer (@{ $used->{experts} }) {
    my ($sum, $most) = (0, 0);
    for (@{ $layer->{loads} }) { $sum += $_; $most = $_ if $_ > $most }
    # Windows of 32 positions, every position goes to 2 of 4 experts; the last of a window may be left out.
    ok($sum == 2 * 32 * 50 || $sum == 2 * 31 * 50, "perplexity: every token is counted: $sum");
    is_near($layer->{imbalance}, $most / ($sum / 4), 1e-9, 'perplexity: the fullest over the mean');
    is($layer->{idle}, scalar(grep { $_ == 0 } @{ $layer->{loads} }), 'perplexity: those that got nothing');
}
like((run('perplexity', '-m', "$routed/latest", '-f', $data, '--ctx', 32, '--chunks', 50))[1],
     qr/^experts: the fullest has \d\.\d{3} of the mean load, in the worst of 2 layers; \d got no token$/m,
     'perplexity: in words');

# ---- a profile ------------------------------------------------------------------------------------
# One layer of attention and experts: spans of each block, and what is known of their bytes.
my $trace = "$scratch/trace.json";
is((run('train', '-c', $ini, '-o', "$scratch/profiled", '--profile', $trace, '--set', 'model.vishwamai.num_experts=4',
        '--set', 'train.max_steps=16', '--set', 'train.eval_every=0'))[0], 0, 'train --profile');
my @spans = @{ JSON::PP->new->decode(read_file($trace))->{traceEvents} };
my %spans;
push @{ $spans{ $_->{name} } }, $_ for @spans;
my $micros = @{ $spans{'forward and backward'} };
is($micros, 20, 'ten steps of two micro-batches');
for my $block (qw(embed norm linear rope attention moe)) {
    for my $name ($block, "$block backward") {
        my @of = @{ $spans{$name} // [] };
        my $told = grep { $_->{args} && $_->{args}{bytes} > 0 } @of;
        ok(@of >= $micros && @of % $micros == 0 && $told >= $micros, "a profile has spans of $name, with bytes");
    }
}
is(scalar @{ $spans{head} }, $micros, 'and of the head, where the loss and its gradient are made');
is_deeply([keys %{ { map { $_->{args}{bytes} => 1 } @{ $spans{embed} } } }], [2 * 4 * 4 * 32 * 32],
          'an embedding reads and writes rows of 32 f32 for 4 windows of 32 tokens');
my @outer = @{ $spans{'forward and backward'} };
my @stray = grep {
    my $s = $_;
    $s->{name} =~ /^(?:embed|norm|linear|rope|attention|moe|head)/
        && !grep { $s->{ts} >= $_->{ts} - 1 && $s->{ts} + $s->{dur} <= $_->{ts} + $_->{dur} + 1 } @outer
} @spans;
is(scalar @stray, 0, 'blocks lie within the passes of their micro-batches');

# ---- a teacher ------------------------------------------------------------------------------------
my @pupil = ('--set', 'distill.teacher=wise', '--set', 'model:wise.plugin=vishwamai', '--set', "data.tokenizer=$whole/latest",
             '--set', 'train.max_steps=10', '--set', 'model.vishwamai.num_layers=1');
($status, $out, $err) = run('train', '-c', $ini, '-o', "$scratch/pupil", @pupil, '--set',
                            "model:wise.path=$whole/latest");
is($status, 0, 'a pupil of one layer learns from a teacher of two') or diag($err);
like($err, qr/^memory.*, teacher [\d.]+$/m, 'whose memory is in the plan');
like($err, qr{^step 10/10  loss [\d.]+}m, 'to the end');
my ($alone) = (run('train', '-c', $ini, '-o', "$scratch/alone", @pupil, '--set', 'distill.teacher='))[2] =~
              m{^step 10/10  loss ([\d.]+)}m;
unlike($err, qr{^step 10/10  loss \Q$alone\E }m, 'not as it would have alone');
# hidden states besides
my @close = (@pupil, '--set', "model:wise.path=$whole/latest", '--set', 'distill.intermediate_weight=1');
($status, $out, $err) = run('train', '-c', $ini, '-o', "$scratch/close1", @close);
is($status, 0, 'hidden states of a pupil of one layer are compared with those of the last') or diag($err);
push @close, '--set', 'model.vishwamai.num_layers=2', '--set', 'model.vishwamai.hidden_dim=24', '--set', 'train.keep=9';
($status, $out, $err) = run('train', '-c', $ini, '-o', "$scratch/close", @close);
is($status, 0, 'a narrower pupil of two learns hidden states too') or diag($err);
ok(-s "$scratch/close/latest/projections.safetensors", 'through projections, which are kept');
mkdir "$scratch/close2";
system 'cp', '-r', "$scratch/close/step-00000005", "$scratch/close2";
is((run('train', '-c', $ini, '-o', "$scratch/close2", @close))[0], 0, 'gone on with');
for my $file ('model', 'projections', 'optimizer') {
    ok(read_file("$scratch/close/step-00000010/$file.safetensors") eq
       read_file("$scratch/close2/step-00000010/$file.safetensors"), "$file: the same bits as in one go");
}
($status, $out, $err) = run('train', '-c', $ini, '-o', "$scratch/close3", @close, '--set', 'model.vishwamai.num_layers=3',
                            '--set', 'distill.intermediate_layer_mapping=last_layers');
is($status, 2, 'last layers of a teacher that has fewer');
like($err, qr/distill\.teacher = wise has 2 layers, the student 3; distill\.intermediate_layer_mapping = last_layers wants a teacher of as many layers/,
     'and its sentence');
fails(2, qr/^vishwamai: distill\.teacher = wise: \[model:wise\] path is needed, the teacher's folder/, 'train', '-c',
      $ini, '-o', "$scratch/p2", @pupil);
SKIP: {
    skip('the bundled model does not run here', 2) if !is_there('model/gemma') || !is_there('tokenizer/sentencepiece');
    ($status, $out, $err) = run('train', '-c', $ini, '-o', "$scratch/p3", @pupil, '--set', "model:wise.path=$model",
                                '--set', 'model:wise.plugin=gemma');
    is($status, 2, 'a teacher of another vocabulary');
    like($err, qr/distill\.teacher = wise: its vocabulary and the student's differ \(1024 and $alphabet tokens\), so their logits cannot be compared\. Let the teacher write text instead/,
         'is refused, and what to do instead is said') or diag($err);
}

# ---- an adapter ----------------------------------------------------------------------------------
SKIP: {
    skip('the bundled model does not run here', 8) if !is_there('model/gemma') || !is_there('tokenizer/sentencepiece');
    my $lora = "$scratch/lora";
    ($status, $out, $err) =
        run('train', '-m', $model, '-f', $data, '-o', $lora, '--set', 'lora.rank=4', '--set', 'train.final=f32', '--set',
            'data.max_length=64', '--set', 'train.batch_size=4', '--set', 'train.grad_accum_steps=1', '--set',
            'train.max_steps=12', '--set', 'train.warmup_steps=1', '--set', 'train.learning_rate=2e-3', '--set',
            'train.eval_every=6', '--set', 'train.eval_windows=20', '--set', 'train.log_every=6');
    is($status, 0, 'an adapter of the bundled model') or diag($err);
    my @losses = map { $_->{val_loss} } lines($lora);
    ok($losses[-1] < $losses[0], "lowers the loss on a new text: $losses[0] to $losses[-1]");
    my $config = JSON::PP->new->decode(read_file("$lora/latest/adapter_config.json"));
    is("$config->{peft_type} $config->{r}", 'LORA 4', 'its files are named as PEFT names them');
    like(read_file("$lora/latest/adapter_model.safetensors"),
         qr/"base_model\.model\.model\.layers\.0\.self_attn\.q_proj\.lora_A\.weight"/, 'and so are its tensors');
    my @how = ('-f', $data, '--ctx', 64, '--chunks', 10);
    my $before = json_of('perplexity', '-m', $model, @how)->{nll};
    my $merged = json_of('perplexity', '-m', "$lora/final", @how)->{nll};
    ok($merged < $before, "the merged model has it: $before to $merged");
    # y = W x + s B A x, and (W + s B A) x: two orders of the same sums.
    my @ids = ('--tokens', '2 ' . join ' ', map { 3 + 37 * $_ % 900 } 1 .. 40);
    my $one = json_of('logits', '-m', "$lora/final", @ids)->{logits};
    my $beside = json_of('logits', '-m', $model, '--set', "model.adapter=$lora/latest", @ids)->{logits};
    my $plain = json_of('logits', '-m', $model, @ids)->{logits};
    my ($largest, $moved, $sum, $squares, $n_logits) = (0) x 5;
    for my $row (0 .. $#$one) {
        for my $i (0 .. $#{ $one->[$row] }) {
            my $x = $one->[$row][$i];
            my $d = abs($x - $beside->[$row][$i]);
            $largest = $d if $d > $largest;
            $d = abs($x - $plain->[$row][$i]);
            $moved = $d if $d > $moved;
            $sum += $x, $squares += $x * $x, $n_logits++;
        }
    }
    my $deviation = sqrt($squares / $n_logits - ($sum / $n_logits)**2);
    ok($largest < 1e-4 * $deviation && $moved > 1e-2 * $deviation,
       "merging changes logits by rounding only: by $largest, their deviation is $deviation, the adapter's part $moved");
    fails(2, qr/^vishwamai: lora\.rank = 4 adapts a model that there is: \[model\] path is needed/, 'train', '-c', $ini,
          '-o', "$scratch/p4", '--set', 'lora.rank=4');
}

# ---- runs -----------------------------------------------------------------------------------------
($status, $out, $err) = run('runs', $whole, $killed, '--diff', '--plot', "$scratch/curves.svg");
is($status, 0, 'runs: status 0') or diag($err);
like($out, qr/^run +step +train +best val/, 'runs: a table');
like($out, qr/^whole +60 +[\d.]+ +[\d.]+ +\d+ +\d+ +[\d.]+$/m, 'runs: a line of it');
like($out, qr/^train\.out: .*whole.*killed|^train\.out: .*killed.*whole/m, 'runs --diff: what differs');
unlike($out, qr/^train\.seed/m, 'runs --diff: and nothing else');
my $svg = read_file("$scratch/curves.svg");
like($svg, qr/<svg .*whole.*killed.*<\/svg>/s, 'runs --plot: a drawing');
my $list = json_of('runs', $scratch);
is_deeply([sort map { (split '/', $_->{path})[-1] } @{ $list->{runs} }],
          [sort grep { -f "$scratch/$_/metrics.jsonl" } map { (split '/')[-1] } glob "$scratch/*"],
          'runs --json: all runs of a folder');
mkdir "$scratch/far"; # losses between which a double has no room for ticks
write_file('far/metrics.jsonl', qq({"step":1,"train_loss":1e17}\n{"step":2,"train_loss":100000000000000032}\n));
($status, $out) = run('runs', "$scratch/far", '--plot', "$scratch/far.svg");
is($status, 0, 'runs --plot: ends for any losses');
like($out, qr/^far +2 +1\.000e\+17 +- /m, 'runs: a huge loss fits its column');
fails(1, qr/^vishwamai: .*: no run is here: no metrics.jsonl in it or in its folders/, 'runs', "$top/t");

# ---- learning a tokenizer ---------------------------------------------------------------------------
is((run('tokenize', '--train', '-f', $data, '--out', "$scratch/chars", '--set', 'tokenizer.plugin=chars'))[0], 0,
   'tokenize --train: chars');
is(length JSON::PP->new->utf8->decode(read_file("$scratch/chars/chars.json"))->{alphabet}, scalar $alphabet,
   'its alphabet is that of the text');
fails(2, qr/^vishwamai: --train needs -f FILE, --out DIR and no text/, 'tokenize', '--train', '-f', $data);
fails(2, qr/^vishwamai: --train needs the kind of tokenizer: --set tokenizer.plugin=sentencepiece, or chars/,
      'tokenize', '--train', '-f', $data, '--out', "$scratch/none");
fails(2, qr/^vishwamai: --out and --vocab-size belong to --train/, 'tokenize', '-p', 'x', '--out', 'y');

SKIP: {
    skip('tokenizer/sentencepiece is not built', 5) if !is_there('tokenizer/sentencepiece');
    my @words = ('tokenize', '--train', '-f', $data, '--set', 'tokenizer.plugin=sentencepiece');
    is((run(@words, '--vocab-size', 400, '--out', "$scratch/pieces"))[0], 0, 'tokenize --train: sentencepiece');
    ok(-s "$scratch/pieces/tokenizer.model", 'a tokenizer.model');
    fails(2, qr/^vishwamai: learning a tokenizer from .*: a vocabulary of 90000 cannot be learnt from these texts: /,
          @words, '--vocab-size', 90000, '--out', "$scratch/much");
    my $pieces = "$scratch/by-pieces";
    ($status, $out, $err) = run('train', '-c', $ini, '-o', $pieces, '--set', 'train.max_steps=6', '--set',
                                "data.tokenizer=$scratch/pieces", '--set', 'tokenizer.plugin=auto');
    is($status, 0, 'train with it') or diag($err);
    my $ids = json_of('tokenize', '-m', "$pieces/latest", '-p', "There\nand back again")->{tokens};
    is(json_of('tokenize', '-m', "$pieces/latest", '--decode', '--tokens', "@$ids")->{text},
       "There\nand back again", 'and its checkpoint tokenizes, there and back');
}
done_testing;
