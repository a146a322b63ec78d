#!/usr/bin/perl
# man.t - the manual pages are well formed and say all that the program knows of itself.
use strict;
use warnings;
use Test::More;

my $built = $ENV{top_builddir} // '.';
my %page;
for my $name (qw(vishwamai.1 vishwamai.ini.5)) {
    open my $file, '<', "$built/etc/man/$name" or die "$name: $!";
    local $/;
    $page{$name} = <$file>;
    unlike($page{$name}, qr/\@\w+\@/, "$name: nothing is left to be filled in");
    SKIP: {
        skip 'no groff', 1 if system('groff --version >/dev/null 2>&1') != 0;
        # A long path of the installation may leave a line that cannot be adjusted.
        is(`groff -man -Tutf8 -ww -Wbreak -z '$built/etc/man/$name' 2>&1`, '', "$name: groff has no complaint");
    }
}

SKIP: {
    skip 'the command is not built', 1 unless -x "$built/vishwamai";
    my ($list) = `vishwamai --help` =~ /^((?:  [a-z]+ .*\n)+)/m;
    for my $name ($list =~ /^  ([a-z]+) /mg) {
        like($page{'vishwamai.1'}, qr/^\.SS $name$/m, "subcommand $name is in the manual");
        my @missing = grep { (my $roff = $_) =~ s/-/\\-/g; index($page{'vishwamai.1'}, $roff) < 0 }
            `vishwamai $name --help` =~ /(--[a-z][a-z-]*)/g;
        is("@missing", '', "and each of its options");
    }
    for my $section (`vishwamai config` =~ /^\[(.*)\]$/mg) {
        my ($about) = $page{'vishwamai.ini.5'} =~ /^\.SS \Q$section\E\n(.*?)(?:^\.S[SH]|\z)/ms;
        my @keys = `vishwamai inspect --ini $section` =~ /^;?(\w+) = /mg;
        is("@{[grep { ($about // '') !~ /^;?$_ = /m } @keys]}", '', "section $section is in the manual");
        cmp_ok(scalar @keys, '>', 0, 'with its options');
    }
    for my $plugin (map { m{([a-z0-9]+)_([^/]+)\.so$} ? "$1/$2" : () } glob "$built/.libs/*_*.so") {
        like($page{'vishwamai.ini.5'}, qr/^\.SS \Q$plugin\E$/m, "component $plugin is in the manual");
    }
}
done_testing;
