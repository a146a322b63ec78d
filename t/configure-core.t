#!/usr/bin/perl
# configure-core.t - no generated configure script may remove a file or folder named core.
#
# Autoconf tidies up with `rm -f core`, meaning a crash dump; our library lives in a folder of that
# name.  etc/m4/keep-core.m4 takes the word out, and this test sees that none is left.
use strict;
use warnings;
use Test::More;

my $configure = ($ENV{top_srcdir} // '.') . '/configure';
open my $file, '<', $configure or plan skip_all => "no $configure: $!";
my ($n_rm, @guilty) = (0);
while (<$file>) {
    $n_rm++ if /\brm -/;
    push @guilty, "$.: $_" if /\brm\s+(?:-\S+\s+)+(?:\S+\s+)*core(?:\s|$)/;
}
cmp_ok($n_rm, '>', 10, 'configure has rm lines at all');
is("@guilty", '', 'none of them names core');
like("12: rm -f core *.core\n", qr/\brm\s+(?:-\S+\s+)+(?:\S+\s+)*core(?:\s|$)/, 'the pattern finds one');
done_testing;
