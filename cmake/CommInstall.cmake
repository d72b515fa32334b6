# Installation and the package `commc`, in two parts so that a machine that only runs models needs no compiler:
#   find_package(commc)                       commc::runtime, the C interface comm-c/runtime.h; no dependencies
#   find_package(commc COMPONENTS compiler)   commc::CommIR, commc::CommAnalysis, ... for passes out of the tree; needs MLIR 22
include(CMakePackageConfigHelpers)
set(comm_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/commc)

# The runtime as one shared library that shows the C interface and nothing else.
if(TARGET CommRuntime)
  add_library(commc_runtime SHARED $<TARGET_OBJECTS:CommRuntime>)
  target_link_libraries(commc_runtime PRIVATE CommRuntime
    -Wl,--version-script=${PROJECT_SOURCE_DIR}/cmake/commc_runtime.map)
  target_include_directories(commc_runtime INTERFACE
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  set_target_properties(commc_runtime PROPERTIES EXPORT_NAME runtime VERSION ${PROJECT_VERSION} SOVERSION 0
    LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/commc_runtime.map)
  install(TARGETS commc_runtime EXPORT commc-runtime COMPONENT runtime)
  install(EXPORT commc-runtime NAMESPACE commc:: DESTINATION ${comm_package_dir} COMPONENT runtime)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/include/comm-c DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT runtime)
endif()
foreach(tool commrun commc-rank)
  if(TARGET ${tool})
    install(TARGETS ${tool} COMPONENT runtime)
  endif()
endforeach()
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/commc-config.cmake.in commc-config.cmake
  INSTALL_DESTINATION ${comm_package_dir})
write_basic_package_version_file(commc-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/commc-config.cmake ${PROJECT_BINARY_DIR}/commc-config-version.cmake
  DESTINATION ${comm_package_dir} COMPONENT runtime)
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)

if(COMM_COMPILER)
  foreach(tool commc comm-opt)
    if(TARGET ${tool})
      set_target_properties(${tool} PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
      install(TARGETS ${tool} COMPONENT compiler)
    endif()
  endforeach()
  # What a pass out of the tree includes and links: the dialect, its declarations for TableGen, and analyses over it.
  foreach(library CommExecutable CommCost CommSolver CommIR CommAnalysis CommInterpreter)
    if(TARGET ${library})
      install(TARGETS ${library} EXPORT commc-compiler COMPONENT compiler)
    endif()
  endforeach()
  install(TARGETS comm_flags comm_mlir EXPORT commc-compiler)
  install(EXPORT commc-compiler NAMESPACE commc:: DESTINATION ${comm_package_dir} COMPONENT compiler)
  foreach(folder ${PROJECT_SOURCE_DIR}/include/comm ${PROJECT_BINARY_DIR}/include/comm)
    install(DIRECTORY ${folder} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT compiler
      FILES_MATCHING PATTERN "*.h" PATTERN "*.td" PATTERN "*.inc" PATTERN "CMakeFiles" EXCLUDE)
  endforeach()
endif()
