#!/usr/bin/perl
# gpu-check.t - t/gpu-check tells failures from passes, keeps its limits and always leaves its results.
#
# Only its own conduct is tested, with a build folder that is here and the simulated driver; the whole
# of it is for the machine with the GPU.
use strict;
use warnings;
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use Test::More;

my $built = $ENV{top_builddir} // '.';
my $driver = "$built/t/cuda-sim/.libs/libcuda.so";
plan skip_all => 'built without CUDA, or without the simulated driver' unless -e $driver;
plan skip_all => 'no python3' if system 'python3 -c "import tarfile" 2>/dev/null';
$ENV{VW_CUDA_DRIVER} = $driver;

# Status and results of one call.
sub check {
    my (@words) = @_;
    my $out = "$scratch/results.md";
    unlink $out;
    my $text = `python3 '$top/t/gpu-check' --out $out @words 2>&1`;
    my $status = $? >> 8;
    ok(-e $out, "@words: there are results") or diag($text);
    return ($status, -e $out ? read_file($out) : '');
}

my @here = ('--built', $built, '--simulate');
my ($status, $results) = check(@here, '--only', 'nothing');
is($status, 0, 'a device that can be used: success');
like($results, qr/^# gpu-check: all 1 steps passed\n/, 'says the first line');
like($results, qr/^\| inspect \| pass \| [\d.]+ \| [\d.]+ \|$/m, 'and the table');
like($results, qr/simulated driver: no figure here is a device's/, 'and what the device is');

{
    local $ENV{VW_CUDA_SIM_DEVICES} = 0;
    ($status, $results) = check(@here, '--only', 'nothing');
    is($status, 1, 'no device: failure');
    like($results, qr/^# gpu-check: 1 of 1 steps FAILED\n/, 'says the first line');
    like($results, qr/^\| inspect \| FAILED: no device can be used \|/m, 'and the table');
}
{
    local $ENV{VW_CUDA_SIM_MEMORY} = 1;
    ($status, $results) = check(@here, '--only', 'conformance', '--limit', 6);
    is($status, 1, 'a device that fails, and no time: failure');
    like($results, qr/^\| kind-device \| FAILED: .*\|/m, 'a test that fails is told');
    like($results, qr/^# gpu-check: \d+ of \d+ steps FAILED\n/, 'in the first line too');
    like($results, qr/^## kind-device: FAILED.*\n(.*\n)*?not ok /m, 'with its words');
}
($status, $results) = check(@here, '--only', 'conformance', '--limit', 4);
is($status, 1, 'too little time: failure');
like($results, qr/\| out of time after \d+ s \|/, 'the step that ran is ended');
like($results, qr/\| not run: out of time \|/, 'those after it are not begun');
SKIP: {
    my $tool = `command -v compute-sanitizer 2>/dev/null` || -e '/usr/local/cuda/bin/compute-sanitizer';
    skip 'there is a compute-sanitizer', 3 if $tool;
    ($status, $results) = check('--built', $built, '--only', 'sanitizer');
    is($status, 1, 'no compute-sanitizer: failure');
    like($results, qr/^\| compute-sanitizer memcheck: a short text \| FAILED: no clean summary \|/m,
         'is told');
}
($status, $results) = check("$scratch/no.tar");
is($status, 1, 'no pack: failure');
like($results, qr/FAILED: /, 'is told');
done_testing;
