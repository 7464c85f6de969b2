import type { FleetChange } from '../fleet/fleet-diff.js';
import type { CreateOptions } from '../vm-create-action.js';
import type { View } from '../output.js';

const SIGN: Readonly<Record<FleetChange['kind'], string>> = {
  create: '+',
  label: '~',
  start: '~',
  stop: '~',
  set: '~',
  autostart: '~',
  remove: '-',
};

export const FLEET_VIEW: View<FleetChange> = {
  columns: [
    {
      title: ' ',
      text: ({ kind }) => SIGN[kind],
      colour: ({ kind }) => (kind === 'create' ? 'green' : kind === 'remove' ? 'red' : 'yellow'),
    },
    { title: 'VM', text: subject },
    { title: 'CHANGE', text: detail },
  ],
  json: (change) => ({ change: change.kind, vms: vmsOf(change), detail: detail(change) }),
  name: subject,
};

function vmsOf(change: FleetChange): readonly string[] {
  return change.kind === 'create' ? change.names : [change.vm];
}

function subject(change: FleetChange): string {
  const [first = '', ...more] = vmsOf(change);
  if (change.kind !== 'create' || more.length < 3) return [first, ...more].join(' ');
  return `${first} ... ${more.at(-1) ?? ''} (${String(more.length + 1)})`;
}

function sourceOf({ like, installer, image = '' }: CreateOptions): string {
  if (installer !== undefined) return `by ${installer}`;
  return like === undefined ? `of the image ${image}` : `like ${like}`;
}

function detail(change: FleetChange): string {
  switch (change.kind) {
    case 'create':
      return `create, ${sourceOf(change.group.options)}${change.group.isStarted ? ', and start' : ''}`;
    case 'label':
      return `label ${change.detail}`;
    case 'set':
      return `set ${change.detail}`;
    case 'autostart':
      return `autostart ${change.isOn ? 'on' : 'off'}`;
    case 'remove':
      return 'remove, with its disks';
    default:
      return change.kind;
  }
}
