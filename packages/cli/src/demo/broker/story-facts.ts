/** What the machine asks for. */
export const resource = 'web/key/disk';

/** The release that the owner has published, and the one that the host launches. */
export const releases = { published: 1, launched: 2 } as const;
