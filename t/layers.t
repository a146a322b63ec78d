#!/usr/bin/perl
# layers.t - who may see whom, judged by #include lines.
#
#   kernels    other kernels and the system; nothing above them.  dtype.h alone is shared with them:
#              it defines number formats, knows no interface, and must not exist twice
#   plugins, models, reasoning
#              installed headers, kernels, files of their own folder; plugins/cuda/ and plugins/gguf/ are none
#              but the one way to that driver or format, and every plugin may see it; families too, of gguf
#   core       installed headers and files of core/ itself; no component, no kernel
#   core/tools installed headers and files of core/tools/, and two pieces that are compiled into the
#              command as well, so that JSON is printed and a near miss found in one way
#   headers    only other installed headers
#
# And nothing in core names a model family, a GPU or a transport: such knowledge belongs to plugins.
# The folder of the bundled model is a file name and may stand there.
use strict;
use warnings;
use File::Basename;
use File::Find;
use File::Spec;
use Test::More;

my $top = $ENV{top_srcdir} // '.';

# Which part of the tree a file belongs to; its own folder for components.
sub part {
    my ($path) = @_;
    return 'formats' if $path eq 'core/include/vishwamai/dtype.h';
    return 'header' if $path =~ m{^core/include/};
    return 'tools' if $path =~ m{^core/tools/};
    return 'core' if $path =~ m{^core/};
    return 'kernels' if $path =~ m{^kernels/};
    return $1 if $path =~ m{^(plugins/[^/]+|models/[^/]+|reasoning/[^/]+)/};
    return 'outside';
}

# What an included name stands for, from the file that says it: a part of the tree, or 'system'.
sub included {
    my ($from, $name, $quoted) = @_;
    return 'formats' if $name eq 'vishwamai/dtype.h';
    return 'header' if $name =~ m{^vishwamai/};
    return 'shared' if $name =~ m{^core/(?:json_write|nearest)\.h$};
    if ($quoted) {
        my $beside = File::Spec->canonpath(dirname($from) . "/$name");
        1 while $beside =~ s{[^/]+/\.\./}{};
        return part($beside) if -f "$top/$beside";
    }
    return part($name) if -f "$top/$name";
    return 'system';
}

# The sentence that says why `from` must not see `to`, or nothing.
sub forbidden {
    my ($from, $to) = @_;
    return if $to eq 'system' || $to eq 'formats' || $from eq $to;
    return if $to eq 'shared' && $from =~ /^(core|tools)$/;
    return 'number formats see the system alone' if $from eq 'formats';
    return 'kernels know nothing above them' if $from eq 'kernels';
    return 'an installed header sees installed headers alone' if $from eq 'header';
    return if $to eq 'header';
    return if $to eq 'kernels' && $from =~ m{^(plugins|models|reasoning)};
    return if $to =~ m{^plugins/(?:cuda|gguf)$} && $from =~ m{^plugins/};
    return if $to eq 'plugins/gguf' && $from =~ m{^models/};
    return 'a component sees installed headers, kernels and its own folder' if $from =~ m{/};
    return 'the core sees no component and no kernel' if $from eq 'core';
    return 'the command sees the public headers alone' if $from eq 'tools';
    return;
}

is(forbidden('kernels', 'header'), 'kernels know nothing above them', 'the rule for kernels');
ok(forbidden('plugins/gemm', 'core'), 'the rule for plugins');
ok(forbidden('plugins/gemm', 'plugins/device'), 'the rule for neighbours');
ok(!forbidden('plugins/gemm', 'kernels'), 'plugins call kernels');
ok(forbidden('tools', 'core'), 'the rule for the command');

my (%bad, %n);
my $family = qr/\b\w*(?:gemma|deepseek|grok|cuda|hopper|nvidia|nccl|ibverbs|infiniband|openmpi)\w*/i;

find({ no_chdir => 1, wanted => sub {
    my $path = File::Spec->abs2rel($_, $top);
    return unless $path =~ /\.(?:c|h|cc|cu|cuh)$/;
    my $from = part($path);
    $n{$from}++;
    open my $file, '<', $_ or die "$_: $!";
    my $text = do { local $/; <$file> };
    while ($text =~ /^[ \t]*#[ \t]*include[ \t]+([<"])([^>"]+)[>"]/mg) {
        my ($quoted, $name) = ($1 eq '"', $2);
        my $why = forbidden($from, included($path, $name, $quoted));
        push @{ $bad{$from} }, "$path includes $name: $why" if $why;
    }
    if ($from eq 'core') {
        $text =~ s{/\*.*?\*/|//[^\n]*}{ }sg;
        $text =~ s{"models/tiny-vishwamai"}{}g;
        push @{ $bad{core} }, "$path names $1, which is a component's business"
            while $text =~ /($family)/g;
    }
} }, map { "$top/$_" } qw(core kernels plugins models reasoning));

for my $from (sort keys %n) {
    is(join("\n", @{ $bad{$from} // [] }), '', "$from: $n{$from} files keep their layer");
}
done_testing;
