# A guest's end of a console as xenconsoled makes it: a raw pty. What comes in here is what the guest says; what is typed goes
# out. The first line out is the path of the pty; the end of the input ends the domain.
import os, pty, select, sys, tty

master, slave = pty.openpty()
tty.setraw(slave)
os.set_blocking(master, False)
sys.stdout.write(os.ttyname(slave) + "\n")
sys.stdout.flush()
said = b""
while True:
    readers = [master] + ([0] if len(said) < 65536 else [])
    ready, writable, _ = select.select(readers, [master] if said else [], [])
    if 0 in ready:
        piece = os.read(0, 65536)
        if not piece and not said:
            break
        said += piece
    if master in writable:
        try:
            said = said[os.write(master, said):]
        except BlockingIOError:
            pass
    if master in ready:
        # Blocks while nobody takes it: a guest that reads nothing.
        os.write(1, os.read(master, 65536))
