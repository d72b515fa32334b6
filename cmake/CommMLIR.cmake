# Finds LLVM/MLIR 22 and defines comm_mlir (headers and the two shared libraries) and the precompiled header.
find_package(MLIR 22.1 REQUIRED CONFIG HINTS /usr/lib/llvm-22/lib/cmake/mlir)
list(APPEND CMAKE_MODULE_PATH "${MLIR_CMAKE_DIR}" "${LLVM_CMAKE_DIR}")
include(TableGen)
include(AddLLVM)
include(AddMLIR)
# mlir_tablegen reads the directory property, not targets.
include_directories(${PROJECT_SOURCE_DIR}/include)
include_directories(SYSTEM ${MLIR_INCLUDE_DIRS})

add_library(comm_mlir INTERFACE)
target_include_directories(comm_mlir SYSTEM INTERFACE ${MLIR_INCLUDE_DIRS} ${LLVM_INCLUDE_DIRS})
target_compile_options(comm_mlir INTERFACE -fno-exceptions) # RTTI stays on: LLVM is built with it
# The packaged LLVM is built with NDEBUG, and the layout of pass statistics depends on it.
target_compile_definitions(comm_mlir INTERFACE NDEBUG)
target_link_libraries(comm_mlir INTERFACE MLIR LLVM)        # only the two shared libraries, never MLIRIR & co

# One precompiled header for every MLIR target: headers are 4 s of a 6 s compile.
add_library(CommPCH STATIC ${PROJECT_SOURCE_DIR}/cmake/CommPCH.cpp)
target_link_libraries(CommPCH PUBLIC comm_flags comm_mlir)
target_precompile_headers(CommPCH PRIVATE
  <mlir/IR/Builders.h> <mlir/IR/BuiltinOps.h> <mlir/IR/PatternMatch.h> <mlir/Pass/Pass.h>
  <mlir/Dialect/Func/IR/FuncOps.h> <mlir/Dialect/Arith/IR/Arith.h> <mlir/Dialect/Math/IR/Math.h>
  <mlir/Dialect/Tensor/IR/Tensor.h> <mlir/Dialect/Linalg/IR/Linalg.h>
  <mlir/Transforms/GreedyPatternRewriteDriver.h> <map> <string> <vector>)
# What ccache takes for the content of the precompiled header, which holds absolute paths: what it is made of.
set(COMM_PCH_FOLDER CMakeFiles/CommPCH.dir)
get_target_property(comm_pch_headers CommPCH PRECOMPILE_HEADERS)
file(CONFIGURE OUTPUT ${PROJECT_BINARY_DIR}/${COMM_PCH_FOLDER}/cmake_pch.hxx.pch.sum
  CONTENT "${comm_pch_headers} ${MLIR_DIR} ${LLVM_PACKAGE_VERSION} ${CMAKE_CXX_COMPILER_VERSION} ${CMAKE_BUILD_TYPE} ${COMM_SANITIZE}\n" @ONLY)
