/** A piece of a boot chain and what stands between it and the host. */
export interface BootPiece {
  /** Stable: `firmware`, `kernel`, … */
  readonly id: BootPieceId;
  readonly title: string;
  /**
   * `measured`: a change changes the launch digest. `encrypted`: the host sees ciphertext. `gated`: a secret is needed that
   * only the right machine gets. `open`: the host can change or read it unnoticed. `absent`: this machine has none.
   */
  readonly state: 'measured' | 'encrypted' | 'gated' | 'open' | 'absent';
  /** How that is known. */
  readonly because: string;
  /** For an open piece: what it lets the host do. */
  readonly lets?: string;
  /** For an open piece: how to close it. */
  readonly hint?: string;
}

const bootPieceTitles = {
  policy: 'guest policy',
  firmware: 'firmware',
  variables: 'firmware’s variables',
  'boot-loader': 'boot loader',
  kernel: 'kernel',
  initrd: 'initrd',
  'command-line': 'command line',
  shell: 'shell for whoever holds the console',
  disk: 'root disk',
  'disk-binding': 'which disk it is',
  'disk-key': 'key of the disk',
  broker: 'way to the key broker',
  'init-data': 'init-data',
} as const;
export type BootPieceId = keyof typeof bootPieceTitles;

export function piece(
  id: BootPieceId,
  state: Exclude<BootPiece['state'], 'open'>,
  because: string,
): BootPiece {
  return { id, title: bootPieceTitles[id], state, because };
}

export function openPiece(id: BootPieceId, because: string, lets: string, hint: string): BootPiece {
  return { id, title: bootPieceTitles[id], state: 'open', because, lets, hint };
}
