import type { Option } from 'commander';
import { NAMED, PLAIN } from './format.js';
import type { AddOptions, UpgradeOptions } from './host-add-action.js';
import type { TokenOptions } from './host-action.js';
import type { RemoveOptions } from './host-remove-action.js';
import { countOption, dryRunOption, durationOption, fileOption, loginOption, option, yesOption } from './option.js';
import { verb, type Noun } from './verb.js';

const MOST_USES = 10_000;
const MOST_PARALLEL = 100;

/** How dom0s are reached by ssh. */
function reachOptions(): readonly Option[] {
  return [
    loginOption('log in as this user, who becomes root by sudo; else root, or what was used before'),
    fileOption('--ssh-config <file>', 'read this file instead of ~/.ssh/config'),
    option('--accept-new-host-key', 'the host was deployed anew: take the key that it shows now'),
  ];
}

function parallelOption(): Option {
  return countOption('--parallel <n>', 'so many hosts at once; else 10', 1, MOST_PARALLEL);
}

function artefactOption(): Option {
  return option('--artefact <file>', 'artefact.json of the agent to install; else the one beside this program');
}

export const HOST: Noun = {
  name: 'host',
  about: 'the dom0s that joined',
  verbs: [
    verb({
      name: 'add',
      args: '[node...]',
      about: 'install the agent on dom0s over ssh and let them join; repeating it repairs or upgrades',
      formats: NAMED,
      options: [
        option('--file <file>', 'a list of nodes, one a line, such as $OAR_NODE_FILE; - is the input'),
        option('--via <way>', 'how agents reach the controller: direct, or through a tunnel over ssh').choices([
          'direct',
          'ssh',
        ]),
        ...reachOptions(),
        parallelOption(),
        artefactOption(),
        dryRunOption('check everything, show the plan, change nothing'),
      ],
      examples: [
        'domherd host add --file $OAR_NODE_FILE',
        "domherd host add 'dom0-[1-20]' --dry-run",
        'domherd host add dom0-1 --accept-new-host-key',
        'domherd host add dom0-1 --via ssh',
      ],
      run: async (call, args, options: AddOptions) =>
        (await import('./host-add-action.js')).addHosts(call, args, options),
    }),
    verb({
      name: 'upgrade',
      args: '[host...]',
      about: 'install the present agent on hosts that joined; their VMs are left alone',
      formats: NAMED,
      options: [
        option('-a, --all', 'all hosts'),
        ...reachOptions(),
        parallelOption(),
        artefactOption(),
        dryRunOption('check everything, show the plan, change nothing'),
      ],
      examples: ['domherd host upgrade --all', 'domherd host upgrade dom0-1 --dry-run'],
      run: async (call, args, options: UpgradeOptions) =>
        (await import('./host-add-action.js')).upgradeHosts(call, args, options),
    }),
    verb({
      name: 'remove',
      args: '<host...>',
      about: 'take the agent off dom0s and forget them: their addresses rest. Their VMs are left alone',
      formats: NAMED,
      options: [
        option('--force', 'although VMs with live leases may be running'),
        option('--forget', 'leave the dom0 alone, it is out of reach: forget it here only'),
        ...reachOptions(),
        parallelOption(),
        yesOption(),
        dryRunOption('tell what would go, change nothing'),
      ],
      examples: ['domherd host remove dom0-1', 'domherd host remove dom0-1 --forget --yes'],
      run: async (call, args, options: RemoveOptions) =>
        (await import('./host-remove-action.js')).removeHosts(call, args, options),
    }),
    verb({
      name: 'tunnel',
      about: 'keep up the tunnels of hosts that were added with --via ssh; "host add" starts this by itself',
      formats: [],
      examples: ['nohup domherd host tunnel &'],
      run: async (call) => (await import('./host-tunnel-action.js')).keepAllTunnels(call),
    }),
    verb({
      name: 'list',
      args: '[host...]',
      about: 'all hosts, or those named',
      formats: NAMED,
      examples: ['domherd host list', 'domherd host list -o name', "domherd host list 'dom0-[1-20]' -o wide"],
      run: async (call, args) => (await import('./host-action.js')).listHosts(call, args),
    }),
    verb({
      name: 'show',
      args: '<host>',
      about: 'everything known of one host',
      formats: NAMED,
      examples: ['domherd host show dom0-1'],
      run: async (call, [name = '']) => (await import('./host-action.js')).showHost(call, name),
    }),
    verb({
      name: 'token',
      args: '<host>',
      about: 'a secret with which a host joins, alone on stdout; HOST may have * in it',
      formats: PLAIN,
      options: [
        countOption('--uses <n>', 'for so many joins; else 1', 1, MOST_USES),
        durationOption('--ttl <duration>', 'valid for so long, 10s to 1d; else 10m', '10s', '1d'),
      ],
      examples: [
        'domherd host token dom0-1 | ssh root@dom0-1 domherd-agent join',
        "domherd host token 'dom0-*' --uses 8 --ttl 30m",
      ],
      run: async (call, [name = ''], options: TokenOptions) =>
        (await import('./host-action.js')).createToken(call, name, options),
    }),
    verb({
      name: 'revoke',
      args: '<host...>',
      about: 'refuse the certificate of hosts from now on; they must join anew. Their VMs are left alone',
      formats: NAMED,
      options: [yesOption()],
      examples: ['domherd host revoke dom0-1', 'domherd host revoke dom0-1 --yes'],
      run: async (call, args, options: { yes?: boolean }) =>
        (await import('./host-action.js')).revokeHosts(call, args, options),
    }),
  ],
};
