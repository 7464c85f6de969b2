import t from 'tap';
import { chooseAsked, type Boot } from '../../../../agent/domain/image/boot-choice.js';
import { withBoot } from '../../../../agent/domain/image/boot-keys.js';
import { parseXlCfg } from '../../../../agent/domain/xl-cfg/xl-cfg.js';

const NEW: Boot = { kind: 'direct', kernel: '/boot/new', ramdisk: undefined, cmdline: undefined };
const WITH_INITRD: Boot = { ...NEW, ramdisk: '/boot/new.img' };
const PYGRUB: Boot = { kind: 'pygrub' };
const PVGRUB: Boot = { kind: 'pvgrub', kernel: '/usr/lib/grub-xen/grub-x86_64-xen.bin' };
const DISK = "disk = ['file:/a.img,xvda2,w', 'file:/b.img,xvda1,w']\n";
const WHOLE = "disk = ['file:/a.iso,hdc:cdrom,r', 'file:/a.img,xvda,w']\n";

t.test('how the source of a copy boots is replaced, and every other byte stays', (t) => {
  const text = `# the tutorial's own
kernel  = "/boot/old" # of squeeze
ramdisk = '/boot/old.img'
name = 'domU' ; memory = 256
root = '/dev/xvda2 ro'
${DISK}extra = 'quiet net.ifnames=0'
on_crash = 'preserve' # look at it
`;
  const rest = text.replace(/^(kernel|ramdisk|root|extra) .*\n/gm, '');
  for (const [boot, want] of [
    [WITH_INITRD, text.replace('"/boot/old"', '"/boot/new"').replace('old.img', 'new.img')],
    [NEW, text.replace('"/boot/old"', '"/boot/new"').replace(/^ramdisk.*\n/m, '')],
    [
      { ...WITH_INITRD, cmdline: 'debug' },
      text.replace('"/boot/old"', '"/boot/new"').replace('old.img', 'new.img').replace('quiet net.ifnames=0', 'debug'),
    ],
    [
      { ...NEW, cmdline: 'root=LABEL=x debug' },
      text
        .replace('"/boot/old"', '"/boot/new"')
        .replace(/^(ramdisk|root).*\n/gm, '')
        .replace('quiet net.ifnames=0', 'root=LABEL=x debug'),
    ],
    [PYGRUB, `${rest}bootloader = 'pygrub'\n`],
    [PVGRUB, text.replace('/boot/old', PVGRUB.kernel).replace(/^(ramdisk|root|extra) .*\n/gm, '')],
  ] as const) {
    t.equal(withBoot(parseXlCfg(text), boot).text, want, JSON.stringify(boot));
  }
  t.end();
});

t.test('what a kernel is told in the place of another way to boot', (t) => {
  const bootloader = "bootloader = 'pygrub'\nbootloader_args = ['-q']\n";
  for (const [name, boot, source, want] of [
    ['root on the first disk', NEW, bootloader + DISK, "kernel = '/boot/new'\nroot = '/dev/xvda2 ro'\n"],
    ['in its first partition', NEW, bootloader + WHOLE, "kernel = '/boot/new'\nroot = '/dev/xvda1 ro'\n"],
    ['no disk, no root', NEW, bootloader, "kernel = '/boot/new'\n"],
    [
      'what pygrub adds to the line of the disk',
      NEW,
      `${bootloader}extra = 'quiet'\n${DISK}`,
      "extra = 'quiet'\nkernel = '/boot/new'\nroot = '/dev/xvda2 ro'\n",
    ],
    [
      'what GRUB is told is not for a kernel',
      NEW,
      `kernel = '/usr/lib/xen/boot/pv-grub-x86_64.gz'\nextra = '(hd0)/boot/grub/menu.lst'\nroot = 'x'\n${DISK}`,
      "kernel = '/boot/new'\nroot = '/dev/xvda2 ro'\n",
    ],
    [
      'a line that counts instead of root and extra',
      NEW,
      `cmdline = 'root=/dev/xvda3 quiet'\nroot = '/dev/xvda9'\nextra = 'x'\n${DISK}`,
      "extra = 'root=/dev/xvda3 quiet'\nkernel = '/boot/new'\n",
    ],
    [
      'the root of a line that goes',
      { ...NEW, cmdline: 'debug' },
      `cmdline = 'root=/dev/a root=/dev/xvda3 quiet'\n${DISK}`,
      "kernel = '/boot/new'\nroot = '/dev/xvda3 ro'\nextra = 'debug'\n",
    ],
    [
      'root= that is not the first in its line wins over the key',
      { ...NEW, cmdline: 'debug' },
      `root = '/dev/xvda2'\nextra = 'quiet root=UUID=1-2'\n${DISK}`,
      "root = 'UUID=1-2 ro'\nextra = 'debug'\nkernel = '/boot/new'\n",
    ],
  ] as const) {
    t.equal(withBoot(parseXlCfg(source), boot).text.replaceAll(/^disk.*\n/gm, ''), want, name);
  }
  t.end();
});

t.test('which domains a bootloader can boot', (t) => {
  const pv = ["type = 'pv'", "builder = 'generic'", ''];
  const pvh = ["type = 'pvh'"];
  const hvm = ["type = 'hvm'", "builder = 'hvm'"];
  const boots = (boot: Boot, sources: readonly string[]): void => {
    for (const source of sources) t.doesNotThrow(() => withBoot(parseXlCfg(`${source}\n`), boot), source);
  };
  boots(PYGRUB, [...pv, ...pvh]);
  boots(PVGRUB, pv);
  boots(NEW, [...pv, ...pvh, ...hvm]);
  for (const [boot, sources] of [
    [PYGRUB, hvm],
    [PVGRUB, [...pvh, ...hvm]],
  ] as const) {
    for (const source of sources) {
      const refused = {
        code: 'invalid',
        message: new RegExp(`${boot.kind} cannot boot`),
        details: { hint: /--kernel/ },
      };
      t.throws(() => withBoot(parseXlCfg(`${source}\n`), boot), refused, source);
    }
  }
  t.throws(() => withBoot(parseXlCfg("extra = ['a']\n"), { ...NEW, cmdline: 'quiet' }), { code: 'invalid' });
  t.end();
});

t.test('a bootloader that the host has not', (t) => {
  const none = { hasPygrub: false, pvgrub: undefined };
  for (const [bootloader, hint] of [
    ['pygrub', /xen-utils/],
    ['pvgrub', /grub-xen-host/],
  ] as const) {
    t.throws(() => chooseAsked({ kind: 'bootloader', bootloader }, none), { code: 'wrong_state', details: { hint } });
  }
  t.end();
});
