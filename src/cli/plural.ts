/** "1 server", "3 servers". `one` and `many` where an s does not do it. */
export const plural = (count: number, one: string, many = `${one}s`): string => `${count} ${count === 1 ? one : many}`;
