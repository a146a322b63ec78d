#!/usr/bin/perl
# cli-chat-deepseek.t - conversations with a DeepSeek checkpoint are those that transformers has with it:
# the published turns of V3, R1 and V3.1, the last with and without thinking.
#
# t/data/goldens/deepseek-chat is what etc/goldens/deepseek_chat.py writes.  `chat' tells how many tokens
# its prompt has and what it answers; that these are the golden's ids, `run --tokens' shows.
use strict;
use warnings;
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use File::Copy qw(copy);
use JSON::PP;
use Test::More;

needs('tokenizer/bpe', 'model/deepseek');

my $data = "$top/t/data";
my $golden = JSON::PP->new->utf8->decode(read_file("$data/goldens/deepseek-chat/golden.json"));

# The checkpoint as it would be published, with one of the templates or none.
sub folder {
    my ($template) = @_;
    my $to = "$scratch/model" . ($template ? "-$template" : '');
    return $to if -d $to;
    mkdir $to or die "$to: $!";
    my $from = "$data/goldens/deepseek-chat";
    copy("$from/$_", "$to/$_") or die "$_: $!" for 'config.json', 'model.safetensors';
    copy("$data/tokenizers/deepseek/$_", "$to/$_") or die "$_: $!" for 'tokenizer.json', 'tokenizer_config.json';
    copy("$from/$template.jinja", "$to/chat_template.jinja") or die "$template: $!" if $template;
    return $to;
}

sub answers {
    my ($questions, @words) = @_;
    my $input = join '', map { s/\n/\\\n/r . "\n" } @$questions;
    my ($status, $out, $err) = run_with($input, 'chat', '--json', '--temp', 0, '-n', 12, '--system',
                                        $golden->{system}, @words);
    is($status, 0, "chat @words[2 .. $#words]") or diag($err);
    return map { JSON::PP->new->utf8->decode($_) } split /\n/, $out;
}

sub continued {
    my ($folder, @ids) = @_;
    return json_of('run', '-m', $folder, '--tokens', "@ids", '--temp', 0, '-n', 12)->{tokens};
}

for my $name (sort keys %{ $golden->{forms} }) {
    my $form = $golden->{forms}{$name};
    my $folder = folder($form->{template});
    my @turns = @{ $form->{turns} };
    my @said = answers([map { $_->{user} } @turns], '-m', $folder,
                       $form->{thinking} ? ('--set', 'tokenizer.bpe.thinking=yes') : ());
    is(scalar @said, scalar @turns, "$name: as many answers as questions");
    for my $i (0 .. $#turns) {
        my ($turn, $it) = ($turns[$i], $said[$i]);
        my $n = $i + 1;
        is($it->{prompt_tokens}, scalar @{ $turn->{prompt} }, "$name, turn $n: as many tokens as the template renders");
        is_deeply($it->{tokens}, $turn->{answer}, "$name, turn $n: the answer");
        is($it->{text}, $turn->{text}, "$name, turn $n: its text");
        my @prompt = @{ $turn->{prompt} };
        is_deeply(continued($folder, @prompt), $turn->{answer}, "$name, turn $n: which those ids have");
        # The test would notice one wrong id, at the end and where the oldest message stands.
        for my $at (-1, 2) {
            my @other = @prompt;
            $other[$at] = 300;
            isnt("@{ continued($folder, @other) }", "@{ $turn->{answer} }", "$name, turn $n: and others have not");
        }
    }
}

# Without a template the marks of the vocabulary say that it is a DeepSeek, of the first kind.
my ($first) = answers([$golden->{forms}{v3}{turns}[0]{user}], '-m', folder(undef));
is_deeply($first->{tokens}, $golden->{forms}{v3}{turns}[0]{answer}, 'no template: as V3');
fails(2, qr/^vishwamai: .*thinking = yes, but this model's chat template knows no thinking; leave it out/,
      'chat', '-m', folder('v3'), '--set', 'tokenizer.bpe.thinking=yes');
done_testing;
