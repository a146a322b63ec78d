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
$ENV{VW_CUBLASLT} = $driver; # the simulated library is in the same file
$ENV{VW_CUDA_SIM_STRICT} = 1;

# A test, the plugin it is about, and how many assertions are few.
my @tests = (
    ['kind-device', 'device_cuda', 100],
    ['device-experts', 'device_cuda', 15],
    ['kind-gemm', 'gemm_cuda_ref', 100],
    ['gemm-gradient', 'gemm_cuda_ref', 100],
    ['kind-gemm', 'gemm_cublaslt', 80],
    ['gemm-gradient', 'gemm_cublaslt', 100],
    ['kind-attention', 'attention_cuda_ref', 100],
    ['attention-exact', 'attention_cuda_ref', 100],
);

sub run_test {
    my ($what, $few, @words) = @_;
    my @lines = split /\n/, `@words 2>&1`;
    my $status = $?;
    my @bad = grep { !/^ok / && !/^1\.\./ } @lines;
    is($status, 0, "$what: " . scalar(grep { /^ok / } @lines) . ' assertions');
    cmp_ok(scalar(@lines), '>', $few, 'they are many');
    diag(join "\n", @bad) if $status;
}

for my $test (@tests) {
    my ($program, $plugin, $few) = @$test;
    next unless -e "$built/.libs/$plugin.so"; # the toolkit has no cublasLt.h
    my $folder = tempdir(CLEANUP => 1);
    symlink "$built/.libs/$_.so", "$folder/$_.so" for 'device_cuda', $plugin;
    local $ENV{VW_PLUGIN_PATH} = $folder;
    local $ENV{VW_REQUIRE} = 'cuda,' . $plugin =~ s/_/\//r;
    for my $order (qw(forwards backwards)) {
        local $ENV{VW_CUDA_SIM_ORDER} = $order;
        run_test("$program of $plugin, $order", $few, "'$built/t/$program.t'");
    }
}

# One checkpoint with the logits of the published implementation; cuda-engine.t has the whole model.
local $ENV{VW_REQUIRE} = 'cuda';
run_test('Gemma against the published implementation', 10,
         "'$built/t/golden-gemma.t'", 'cuda', 'gemma-odd-f32');
done_testing;
