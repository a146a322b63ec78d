#!/usr/bin/perl
# symbols.t - what the built objects export: a plugin its one function, the library what the headers
# for applications declare, and nothing else.
use strict;
use warnings;
use File::Basename;
use Test::More;

my $built = ($ENV{top_builddir} // '.') . '/.libs';
my @headers = map { ($ENV{top_srcdir} // '.') . "/core/include/vishwamai/$_.h" } qw(vishwamai schedule);

sub exported {
    my ($file) = @_;
    my @lines = `nm -D --defined-only '$file'`;
    # A sanitizer's own symbols are the compiler's affair.
    return sort grep { !/^__(?:asan|ubsan|tsan|sanitizer|odr_asan|start___|stop___)/ }
        map { /^\S+ [A-Z] ([^\s@]+)/ ? $1 : () }
        # Templates of the C++ library that were not inlined are weak, visible by its own headers and
        # everybody's; without optimisation there are some.
        grep { !/^\S+ W _ZNK?St/ } @lines;
}

my @plugins = grep { basename($_) !~ /^lib/ } sort glob "$built/*.so";
my $library = "$built/libvishwamai.so";
plan skip_all => "nothing is built in $built" unless @plugins || -e $library;

for my $plugin (@plugins) {
    my ($name) = basename($plugin) =~ /^(.*)\.so$/;
    is(join(' ', exported($plugin)), "vw_plugin_$name", "$name exports its one symbol");
    my @needed = `objdump -p '$plugin'`;
    ok(!grep(/NEEDED\s+libvishwamai/, @needed), "$name does not link the library");
}

SKIP: {
    skip 'the library is not built', 2 unless -e $library;
    my $text = '';
    for my $header (@headers) {
        open my $file, '<', $header or die "$header: $!";
        $text .= do { local $/; <$file> };
    }
    $text =~ s{/\*.*?\*/}{ }sg;
    my %declared = map { $_ => 1 }
        $text =~ /^(?!static|typedef)[a-z][\w \t*]*?\b(vw_\w+)\(/mg;
    my %exported = map { $_ => 1 } exported($library);
    is(join(' ', grep { !$exported{$_} } sort keys %declared), '', 'all that is declared is exported');
    is(join(' ', grep { !$declared{$_} } sort keys %exported), '', 'all that is exported is declared');
}
done_testing;
