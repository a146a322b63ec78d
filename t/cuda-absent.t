#!/usr/bin/perl
# cuda-absent.t - the cuda plugins where there is no NVIDIA driver, or none that works: they load,
# say why they cannot be used, and fail in one sentence when they are asked for all the same.
use strict;
use warnings;
use lib ($ENV{top_srcdir} // '.') . '/t/lib';
use Command;
use Test::More;

my $built = $ENV{top_builddir} // '.';
plan skip_all => 'built without CUDA' unless -e "$built/.libs/device_cuda.so";
$SIG{ALRM} = sub { BAIL_OUT('a command hangs without a driver') };
alarm 120;

my @ask = ('run', '-m', $model, '--tokens', '2 7', '-n', '1', '--temp', '0');
my @cuda = ('--set', 'device.plugin=cuda');

# Every cuda plugin is listed as unusable, for this reason; and so says the command that wants it.
sub is_refused {
    my ($why, $what) = @_;
    my @all = grep { $_->{name} =~ /^cu/ } @{ json_of('inspect')->{components} };
    ok(@all > 0, "$what: cuda plugins are listed");
    for my $plugin (@all) {
        is($plugin->{usable}, 'no', "$what: $plugin->{kind}/$plugin->{name} is not usable");
        like(join(' ', map { $plugin->{$_} // '' } sort keys %$plugin), $why, 'for this reason');
    }
    my ($status, $out, $err) = run(@ask, @cuda);
    is($status, 1, "$what: asked for all the same, it fails");
    is($out, '', 'without output');
    my @lines = split /\n/, $err;
    is(scalar @lines, 1, 'in one sentence') or diag($err);
    like($err, qr/^vishwamai: .*device\/cuda.*$why/, 'that says why');
    ($status) = run(@ask);
    is($status, 0, 'and without asking, the processor does the work');
}

SKIP: {
    skip 'there is a driver', 1 if `ldconfig -p 2>/dev/null` =~ /libcuda\.so\.1/;
    delete $ENV{VW_CUDA_DRIVER};
    is_refused(qr/libcuda\.so\.1 is not there: no NVIDIA driver/, 'no driver');
}

$ENV{VW_CUDA_DRIVER} = "$scratch/nothing.so";
is_refused(qr/VW_CUDA_DRIVER cannot be loaded: .*nothing\.so/, 'a file that is not there');
$ENV{VW_CUDA_DRIVER} = 'libc.so.6';
is_refused(qr/libc\.so\.6 has no cuInit: the NVIDIA driver is older than this program needs/,
           'a library that is no driver');

my ($toolkit) = read_file("$built/Makefile") =~ /^CUDA_DIR = (.*)$/m;
my ($stub) = grep { -e } map { "$toolkit/$_/stubs/libcuda.so" }
    qw(lib64 lib targets/x86_64-linux/lib);
SKIP: {
    skip 'the toolkit has no stub', 1 unless $stub;
    $ENV{VW_CUDA_DRIVER} = $stub;
    is_refused(qr/CUDA_ERROR_STUB_LIBRARY \(34: it is the toolkit's stub, not a driver\)/,
               "the toolkit's stub");
}

SKIP: {
    $ENV{VW_CUDA_DRIVER} = "$built/t/cuda-sim/.libs/libcuda.so";
    skip 'no simulated driver', 1 unless -e $ENV{VW_CUDA_DRIVER};
    $ENV{VW_CUDA_SIM_DEVICES} = 0;
    is_refused(qr/the NVIDIA driver is there but finds no device/, 'a driver without a device');
    $ENV{VW_CUDA_SIM_DEVICES} = 1;
    is(json_of('inspect', 'device/cuda')->{usable}, 'yes', 'a device is usable');
    fails(1, qr/^vishwamai: .*there is no CUDA device 3; the driver has 1/, @ask, @cuda,
          '--set', 'device.cuda.index=3');
    skip 'no gemm/cublaslt', 1 unless -e "$built/.libs/gemm_cublaslt.so";
    $ENV{VW_CUBLASLT} = "$scratch/nothing.so";
    my $why = qr/VW_CUBLASLT cannot be loaded: .*nothing\.so/;
    my $lt = json_of('inspect', 'gemm/cublaslt');
    is($lt->{usable}, 'no', 'a device without the library: gemm/cublaslt is not usable');
    like(join(' ', map { $lt->{$_} // '' } sort keys %$lt), $why, 'for this reason');
    fails(1, qr/^vishwamai: .*gemm\/cublaslt.*$why/, @ask, @cuda, '--set', 'gemm.plugin=cublaslt');
}
done_testing;
