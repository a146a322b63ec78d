#!/usr/bin/perl
# cuda-conformance.t - the conformance tests of the kinds, run for the cuda plugins on the simulated
# driver: once with the threads of a block in order and once backwards, so that a missing barrier
# cannot be right by chance.
use strict;
use warnings;
use File::Temp qw(tempdir);
use Test::More;

my $built = $ENV{top_builddir} // '.';
my $driver = "$built/t/cuda-sim/.libs/libcuda.so";
plan skip_all => 'built without CUDA' unless -e "$built/.libs/device_cuda.so";
plan skip_all => 'the simulated driver is not built' unless -e $driver;
$ENV{VW_CUDA_DRIVER} = $driver;
$ENV{VW_CUDA_SIM_STRICT} = 1;

for my $test (['device', 'cuda']) {
    my ($kind, $name) = @$test;
    my $folder = tempdir(CLEANUP => 1);
    symlink "$built/.libs/${kind}_$name.so", "$folder/${kind}_$name.so" or die $!;
    local $ENV{VW_PLUGIN_PATH} = $folder;
    local $ENV{VW_REQUIRE} = "$kind/$name";
    for my $order (qw(forwards backwards)) {
        local $ENV{VW_CUDA_SIM_ORDER} = $order;
        my @lines = split /\n/, `'$built/t/kind-$kind.t' 2>&1`;
        my $status = $?;
        my @bad = grep { !/^ok / && !/^1\.\./ } @lines;
        is($status, 0, "$kind/$name, $order: " . scalar(grep { /^ok / } @lines) . ' assertions');
        ok(@lines > 100, 'they are many');
        diag(join "\n", @bad) if $status;
    }
}
done_testing;
