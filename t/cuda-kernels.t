#!/usr/bin/perl
# cuda-kernels.t - what the compiler said of the kernels: every one is there for every device, and
# none keeps anything in memory that belongs in registers.
#
# A stack frame or a spill makes a kernel slower by a factor that no result shows, so the build
# keeps the report of ptxas beside each fat binary.
use strict;
use warnings;
use Test::More;

my $top = $ENV{top_srcdir} // '.';
my $built = $ENV{top_builddir} // '.';
plan skip_all => 'built without CUDA: no nvcc' unless -e "$built/.libs/device_cuda.so";

sub text_of {
    my ($path) = @_;
    open my $file, '<', $path or return '';
    local $/;
    return <$file>;
}

# The kernels of a report: name -> device -> what was said.
sub kernels_of {
    my ($report) = @_;
    my (%found, $name, $device);
    for (split /\n/, $report) {
        ($name, $device) = ($1, $2) if /Compiling entry function '(\w+)' for '(\w+)'/;
        next unless defined $name;
        @{ $found{$name}{$device} }{qw(stack stores loads)} = ($1, $2, $3)
            if /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/;
    }
    return %found;
}

my %planted = kernels_of("ptxas info    : Compiling entry function 'k' for 'sm_90a'\n" .
    "    8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads\n");
is_deeply(\%planted, { k => { sm_90a => { stack => 8, stores => 4, loads => 4 } } },
          'a planted spill is seen');

my @sources = glob "$top/kernels/cuda/*.cu";
ok(@sources > 0, 'there are kernels');
for my $source (@sources) {
    my ($file) = $source =~ m{([^/]+)\.cu$};
    my $report = "$built/kernels/cuda/$file.fatbin.report";
    SKIP: {
        skip "no plugin that was built carries $file.cu", 1 unless -e $report;
        my %found = kernels_of(text_of($report));
        my $text = text_of($source);
        $text =~ s{/\*.*?\*/}{ }sg;
        my @names = $text =~ /__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(vw_\w+)\s*\(/g;
        ok(%found > 0, "$file.cu: " . keys(%found) . ' kernels');
        is(join(' ', grep { !$found{$_} } @names), '', 'none that its text names is missing');
        my %devices = map { %$_ } values %found;
        for my $name (sort keys %found) {
            is(join(' ', sort keys %{ $found{$name} }), join(' ', sort keys %devices),
               "$name: for every device");
            my @bad = grep { my $k = $found{$name}{$_}; $k->{stack} + $k->{stores} + $k->{loads} }
                sort keys %{ $found{$name} };
            is("@bad", '', "$name: no stack frame, no spill");
        }
    }
}
done_testing;
