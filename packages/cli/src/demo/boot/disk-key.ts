/** Under which the owner's broker has the key of the disk. */
export const diskKeyPath = { repository: 'demo', type: 'disk-key', tag: 'root' };
