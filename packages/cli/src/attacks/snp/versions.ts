import type { SnpAttack } from '../attack.js';

export const snpVersionAttacks: readonly SnpAttack[] = [];
