import { deepEqual } from 'node:assert/strict';
import { waitFor, type Lab } from '../lab.js';
import { bothAnswer, waitForHosts, waitForState, type Addresses } from './cli.js';
import { domains, GUEST_MS, inGuest, waitForGuest } from './guest.js';
import type { Group } from './group.js';
import { spine } from './spine.js';
import { StateStream } from './state-stream.js';

/** With the start of the CLI, again and again, beside emulated dom0s. */
const SEEN_MS = 20_000;
/** What is typed after xl, and what the listing has then. */
const BY_HAND = [
  ['pause domU', 'paused'],
  ['unpause domU', 'running'],
  ['destroy domU', 'stopped'],
  ['create --quiet /etc/xen/domU.cfg', 'running'],
] as const;
const IDLE_S = 60;

/** Domain ids and the processes that handle their reboots: what an agent's end must not change. */
function running(lab: Lab, host: string): Promise<string> {
  return lab.must(host, "xl list | awk 'NR > 2 {print $1, $2}'; pgrep -x xl | sort");
}

async function startedAgent(lab: Lab, host: string): Promise<string> {
  return (await lab.must(host, 'systemctl show -p MainPID --value domherd-agent')).trim();
}

/** Whatever becomes of the agent, the domUs live on, and what happens to them is seen. */
export const agent: Group = {
  name: 'agent',
  after: spine,
  steps: (lab) => {
    let given: Addresses = new Map();
    const addressOf = (host: string): string => given.get(host)?.address ?? '';
    return [
      ...bothAnswer(lab, (found) => (given = found)),
      [
        `an idle agent starts no process in ${String(IDLE_S)} s`,
        async () => {
          const counts = await Promise.all(
            lab.hosts.map(async (host) => {
              const pid = await startedAgent(lab, host);
              const trace = `timeout ${String(IDLE_S)} strace -f -qq -e trace=process -o /tmp/trace -p ${pid}; true`;
              await lab.must(host, trace, { limitMs: 300_000 });
              return lab.must(host, "grep -E 'execve|fork|clone' /tmp/trace | grep -vc CLONE_THREAD; true");
            }),
          );
          deepEqual(counts, ['0\n', '0\n']);
        },
      ],
      [
        'systemctl restart and SIGKILL of the agent leave domUs and their monitors alone',
        async () => {
          const before = await Promise.all(lab.hosts.map((host) => running(lab, host)));
          const pids = await Promise.all(lab.hosts.map((host) => startedAgent(lab, host)));
          await lab.must('dom0-1', 'systemctl restart domherd-agent');
          await lab.must('dom0-2', 'systemctl kill -s KILL domherd-agent');
          const isAnother = async (): Promise<boolean> => {
            const now = await Promise.all(lab.hosts.map((host) => startedAgent(lab, host)));
            return now.every((pid, n) => pid !== '0' && pid !== pids[n]);
          };
          await waitFor('new agents', isAnother, 120_000);
          await waitForHosts(lab);
          deepEqual(await Promise.all(lab.hosts.map((host) => running(lab, host))), before);
        },
      ],
      [
        "then a guest's reboot is still handled",
        async () => {
          const before = await waitForGuest(lab, addressOf('dom0-1'));
          await inGuest(lab, addressOf('dom0-1'), 'reboot');
          const isAnother = async (): Promise<boolean> => (await waitForGuest(lab, addressOf('dom0-1'))) !== before;
          await waitFor('the reboot of domU@dom0-1', isAnother, GUEST_MS, 1000);
          await waitForState(lab, 'dom0-1', 'running', SEEN_MS);
        },
      ],
      [
        "and a guest's poweroff",
        async () => {
          await inGuest(lab, addressOf('dom0-2'), 'poweroff');
          await waitFor('the end of domU', async () => (await domains(lab, 'dom0-2')).length === 0, GUEST_MS);
          await waitForState(lab, 'dom0-2', 'stopped', SEEN_MS);
        },
      ],
      [
        'what is done by hand with xl shows at once',
        async () => {
          const stream = await StateStream.open(lab);
          const seen: string[] = [];
          for (const [verb, state] of BY_HAND) {
            await lab.must('dom0-1', `xl ${verb}`, { limitMs: GUEST_MS });
            const doneMs = Date.now();
            const afterS = ((await stream.next('dom0-1', state)) - doneMs) / 1000;
            seen.push(`${verb.split(' ')[0] ?? ''} ${afterS > 0 ? `${afterS.toFixed(1)} s after` : 'before'} xl's end`);
          }
          await stream.close();
          return seen.join(', ');
        },
      ],
    ];
  },
};
