#!/usr/bin/perl
# headers.t - every installed header stands alone, in C11 and in C++17, without a warning.
use strict;
use warnings;
use File::Basename;
use Test::More;

my $include = ($ENV{top_srcdir} // '.') . '/core/include';
my @headers = sort glob "$include/vishwamai/*.h";
my %languages = (
    'C11' => [$ENV{CC} // 'cc', '-x c -std=c11 -pedantic -Wstrict-prototypes'],
    'C++17' => [$ENV{CXX} // 'c++', '-x c++ -std=c++17'],
);
plan skip_all => "no headers in $include" unless @headers;

for my $language (sort keys %languages) {
    my ($compiler, $flags) = @{ $languages{$language} };
    if (system("$compiler --version >/dev/null 2>&1") != 0) {
        SKIP: { skip "no compiler $compiler", scalar @headers }
        next;
    }
    for my $header (@headers) {
        my $name = basename($header);
        # Twice, for the guard.
        my $source = "#include <vishwamai/$name>\\n#include <vishwamai/$name>\\nint unused_name;\\n";
        my $words = `printf '$source' | $compiler $flags -Wall -Wextra -Werror -fsyntax-only -I'$include' - 2>&1`;
        is($words, '', "$name alone as $language");
    }
}

# What is installed is what is there.
open my $mk, '<', ($ENV{top_srcdir} // '.') . '/core/local.mk' or die "core/local.mk: $!";
my $text = do { local $/; <$mk> };
for my $header (@headers) {
    my $name = basename($header);
    like($text, qr{include/vishwamai/\Q$name\E(?!\w)}, "$name is installed");
}
done_testing;
