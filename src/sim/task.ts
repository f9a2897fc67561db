/** What a program of a host does at a time on the host's clock; see SimHost.after. */
export class Task {
  readonly run: () => void;
  constructor(run: () => void) {
    this.run = run;
  }
}
