/** `deployment`: new MACs in a new deployment only. `every-boot`: each time, for vifs without a live lease. */
export const MAC_POLICIES = ['deployment', 'every-boot'] as const;
export type MacPolicy = (typeof MAC_POLICIES)[number];
