# The second half of the checker: outputs equal to the unsplit model's. Plain C++.
comm_add_library(CommEquality
  SOURCES Proof/Equality.cpp Proof/EqualityApply.cpp Proof/EqualityCommands.cpp Proof/EqualityKernels.cpp Proof/EqualityState.cpp
    Proof/EqualityTerms.cpp Proof/EqualityView.cpp
  LINK CommExecutable)
