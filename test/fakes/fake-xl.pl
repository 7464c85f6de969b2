#!/usr/bin/perl
# What stands for xl and xentop in tests: asks the fake Xen over its control socket, and says what it answers. In Perl, which
# starts in a moment and is part of every Debian.
use strict;
use warnings;
use IO::Socket::UNIX;

my ($path, @argv) = @ARGV;
my $socket = IO::Socket::UNIX->new(Peer => $path) or exit 1;
$| = 1;
$socket->autoflush(1);
print $socket join("\x1f", @argv), "\n";
if ($argv[0] eq 'xentop') {
    # It goes on for ever.
    while (<$socket>) { print or exit 141; }
    exit 1;
}
# Exit code and length of what goes to stderr, then both streams.
my $head = <$socket>;
exit 1 unless defined $head;
my ($exit_code, $length) = split ' ', $head;
my $text = do { local $/; <$socket> } // '';
print STDERR substr($text, 0, $length);
print substr($text, $length);
exit $exit_code;
