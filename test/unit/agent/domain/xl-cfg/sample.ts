import fc from 'fast-check';

/** The reference domU of the tutorial: quoted numbers, partition images, one vif. */
export const TUTORIAL = `# The tutorial's domU: partition images, quoted numbers, one vif
kernel = '/boot/vmlinuz'
ramdisk = '/boot/domu.img'
vcpus = '1'
memory = '128'
root = '/dev/xvda2 ro'
disk = [ 'file:/opt/xen/domU/swap.img,xvda1,w', 'file:/opt/xen/domU/disk.img,xvda2,w' ]
name = 'domU'
dhcp = 'off'
vif = [ 'mac=00:16:3E:11:22:33, bridge=xenbr0' ]
on_poweroff = 'destroy'
on_reboot = 'restart'
on_crash = 'restart'
extra = 'console=hvc0'
`;

/** In the manner of xen-tools: aligned, a comma behind the last item, ip before mac. */
export const XEN_TOOLS = `#
# Configuration file for the Xen instance domU3, created
# by xen-tools 4.9.2 on Mon May 19 02:15:05 2025.
#

#
#  Kernel + memory size
#
kernel      = '/boot/vmlinuz-6.1.0-18-amd64'
ramdisk     = '/boot/initrd.img-6.1.0-18-amd64'
vcpus       = '1'
memory      = '128'

#
#  Disk device(s).
#
root        = '/dev/xvda2 ro'
disk        = [
                  'file:/srv/xen/disk.img,xvda2,w',
                  'file:/srv/xen/swap.img,xvda1,w',
              ]

#
#  Hostname
#
name        = 'domU3'

#
#  Networking
#
dhcp        = 'dhcp'
vif         = [ 'ip=10.0.0.3 ,mac=00:16:3E:5F:C3:25,vifname=domU3,bridge=br0' ]

#
#  Behaviour
#
on_poweroff = 'destroy'
on_reboot   = 'restart'
on_crash    = 'restart'
`;

const blanks = fc.constantFrom('', '', ' ', '  ', '\t');
const newlines = fc.constantFrom('', '', '\n', ' # mac=00:16:3e:00:00:01 "\'[\n', '\n\n', '#\xe9\r\n');
const ends = fc.constantFrom('\n', ';', ' ;\t', ' # name = "x"; vif = [ \'mac=\' ]\n', '\n\n', '\n#\n');
const keys = fc.constantFrom('b', 'name', 'memory', 'on_crash', 'extra', 'c.d_9');
const listKeys = fc.constantFrom('a', 'disk', 'cpus');

const pieces = fc.constantFrom(
  'x',
  ' ',
  '=',
  ',',
  '[',
  '#',
  ';',
  '\xe9',
  '\\\\',
  '\\n',
  "\\'",
  '\\"',
  '\\012',
  'mac=00:16:3e:01:02:03',
);
const quoted = fc
  .tuple(fc.array(pieces, { maxLength: 6 }), fc.constantFrom("'", '"'))
  .map(([parts, quote]) => quote + parts.join('') + quote);
const atom = fc.oneof(fc.constantFrom('0', '128', '0x1f', '010'), quoted);

/** A value, or a list whose last item may have a comma. */
const { list } = fc.letrec<{ list: string; item: string }>((tie) => ({
  item: fc.oneof({ maxDepth: 2 }, atom, tie('list')),
  list: fc
    .tuple(fc.array(fc.tuple(tie('item'), newlines), { maxLength: 3 }), newlines, fc.boolean())
    .map(([items, gap, isTrailing]) => {
      const body = items.map(([item, after]) => item + after).join(`,${gap}`);
      return `[${gap}${body}${isTrailing && items.length > 0 ? ',' : ''}${gap}]`;
    }),
}));

const assignment = fc.oneof(
  fc.tuple(keys, blanks, fc.constantFrom('=', '+='), blanks, atom),
  fc.tuple(listKeys, blanks, fc.constantFrom('=', '+='), blanks, list),
);

/** Configurations that xl takes, of every shape its grammar has. Each ends behind a newline or a semicolon. */
export function arbitraryCfg(): fc.Arbitrary<string> {
  return fc
    .array(
      fc.tuple(
        blanks,
        assignment.map((parts) => parts.join('')),
        ends,
      ),
      { maxLength: 6 },
    )
    .map((statements) => statements.flat().join(''));
}
