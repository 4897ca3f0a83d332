import type { SnpAttack } from '../attack.js';

export const snpKeyAttacks: readonly SnpAttack[] = [];
