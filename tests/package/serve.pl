# An app for a Debian with nothing installed: answers on HOST and PORT, for every request one line.
use strict;
use warnings;
use IO::Socket::INET;

my $listener = IO::Socket::INET->new(
    LocalAddr => $ENV{HOST}, LocalPort => $ENV{PORT}, Listen => 64, ReuseAddr => 1
) or die "cannot listen: $@";
$| = 1;
print "pid $$ listens on $ENV{PORT}\n";
while (my $client = $listener->accept) {
    while (<$client>) { last if /^\r?\n?$/ }
    print $client "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
    close $client;
}
