# Command.pm - running the command from a test: its exit status, what it printed, and its JSON.
package Command;
use strict;
use warnings;
use Exporter 'import';
use File::Temp qw(tempdir);
use IPC::Open3;
use JSON::PP;
use Test::More;
our @EXPORT = qw(run_with run json_of fails is_there needs $top $model $scratch reference write_file
                 read_file is_near);

our $top = $ENV{top_srcdir} // '.';
our $model = $ENV{VW_MODEL} = "$top/etc/models/tiny-gemma"; # of which there is a reference
our $scratch = tempdir(CLEANUP => 1);

sub read_file {
    my ($path) = @_;
    open my $file, '<', $path or die "$path: $!";
    binmode $file;
    local $/;
    return <$file> // '';
}

sub write_file {
    my ($name, $text) = @_;
    open my $file, '>', "$scratch/$name" or die "$name: $!";
    binmode $file;
    print $file $text;
    close $file or die "$name: $!";
    return "$scratch/$name";
}

# Run with a text as standard input: (exit status, standard output, standard error).  A signal that
# ended it gives 128 and its number, as in a shell.
sub run_with {
    my ($input, @words) = @_;
    my $in = write_file('stdin', $input);
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        open STDIN, '<', $in or die $!;
        open STDOUT, '>', "$scratch/stdout" or die $!;
        open STDERR, '>', "$scratch/stderr" or die $!;
        exec 'vishwamai', @words or exit 127;
    }
    waitpid $pid, 0;
    my $status = $? & 127 ? 128 + ($? & 127) : $? >> 8;
    return ($status, read_file("$scratch/stdout"), read_file("$scratch/stderr"));
}

sub run {
    return run_with('', @_);
}

# What a command prints with --json; the test fails, with its words, when it fails.
sub json_of {
    my ($status, $out, $err) = run(@_, '--json');
    my $value = $status ? undef : eval { JSON::PP->new->utf8->decode($out) };
    if (!defined $value) {
        fail("@_ --json");
        diag("status $status: $err$@");
    }
    return $value;
}

# A command that must fail with this status and this sentence, and print nothing else.
sub fails {
    my ($expected, $pattern, @words) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my ($status, $out, $err) = run(@words);
    my $is_good = $status == $expected && $out eq '' && $err =~ $pattern;
    ok($is_good, join ' ', map { length > 60 ? substr($_, 0, 57) . '...' : $_ } @words);
    diag("status $status, output '$out', errors '$err'") if !$is_good;
}

sub is_there { return (run('inspect', '--exists', $_[0]))[0] == 0 }

# Skip the whole test where one of these KIND/NAME is not built; VW_REQUIRE=KIND/NAME forbids that.
sub needs {
    for my $part (grep { !is_there($_) } @_) {
        plan skip_all => "$part is not built"
            if !grep { $_ eq $part } split /,/, $ENV{VW_REQUIRE} // '';
        fail("VW_REQUIRE names $part, which is not built");
        done_testing;
        exit 1;
    }
}

sub is_near {
    my ($got, $expected, $relative, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    my $is_good = defined $got && abs($got - $expected) <= $relative * abs($expected);
    ok($is_good, $name);
    diag('got ' . ($got // 'nothing') . ", expected $expected") if !$is_good;
}

# What another implementation found on the bundled model.
sub reference {
    return JSON::PP->new->utf8->decode(read_file("$model/reference.json"));
}

1;
