/**
 * What mounts, and starts programs that outlive it, is run behind this: both end with it, and it with the agent, whose unit kills
 * nothing but the agent itself.
 */
export const OWN_NAMESPACES = [
  ...(['setpriv', '--pdeathsig', 'KILL', '--'] as const),
  ...(['unshare', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc', '--'] as const),
] as const;
