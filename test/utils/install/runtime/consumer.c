/* The smallest user of comm-c/runtime.h: loads argv[1] and prints what it is, or why not. Exit 0: loaded, 3: refused
 * with a reason. */
#include <comm-c/runtime.h>
#include <stdio.h>

int main(int argc, char **argv) {
  comm_executable *executable = NULL;
  printf("runtime %s\n", comm_runtime_version());
  if (argc != 2)
    return 2;
  if (comm_executable_load(argv[1], &executable) != COMM_OK) {
    printf("refused: %s\n", comm_last_error());
    return 3;
  }
  printf("entries %d\n", (int)comm_executable_entry_count(executable));
  comm_executable_free(executable);
  return 0;
}
