import type { SnpAttack } from '../attack.js';

export const guestMessageAttacks: readonly SnpAttack[] = [];
